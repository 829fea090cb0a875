"""The Responses API: the events of its streams, one by one."""

import json
import re
from typing import Any

from openai_bytes import LOOK_UP, V1, refusal
from raw_http import Answer, Door

EVENT = re.compile(r"event: (?P<name>[a-z_.]+)\ndata: (?P<payload>[^\n]+)\n\n")
TOOLS = [{"type": "function", **LOOK_UP}]
ITEM_ID = re.compile(r"(msg|fc|rs)_[A-Za-z0-9]{29}")


def stream(door: Door, said: str = "one two", **body: Any) -> Answer:
    return door.post(f"{V1}/responses", {"model": "echo", "input": said, "stream": True, **body})


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The events, which must be all of the body and numbered from nought."""
    assert answer.status == 200, answer.body
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    text = answer.body.decode()
    found = list(EVENT.finditer(text))
    assert "".join(event[0] for event in found) == text
    events = [json.loads(event["payload"]) for event in found]
    assert [event["name"] for event in found] == [event["type"] for event in events]
    assert [event.pop("sequence_number") for event in events] == list(range(len(events)))
    return events


def without_ids(event: dict[str, Any]) -> dict[str, Any]:
    """An event with its item's id put down to its kind."""
    return dict(json.loads(ITEM_ID.sub(r"\1", json.dumps(event))))


def test_a_text_is_opened_told_and_closed(echo_door: Door):
    """Given a text answer, when it is streamed, then its item and part surround its pieces."""
    first, second, *inside, last = events_of(stream(echo_door))
    assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
    assert first["response"]["status"] == "in_progress"
    assert first["response"]["output"] == []
    place = {"output_index": 0, "item_id": "msg", "content_index": 0}
    part = {"text": "", "type": "output_text", "annotations": [], "logprobs": []}
    item = {"id": "msg", "type": "message", "status": "in_progress", "role": "assistant"}
    done_part = {**part, "text": "one two"}
    done_item = {**item, "status": "completed", "content": [done_part]}
    kind = "response.output_text"
    assert [without_ids(event) for event in inside] == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "content": []},
        },
        {"type": "response.content_part.added", **place, "part": part},
        {"type": f"{kind}.delta", **place, "delta": "one ", "logprobs": []},
        {"type": f"{kind}.delta", **place, "delta": "two", "logprobs": []},
        {"type": f"{kind}.done", **place, "text": "one two", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": done_part},
        {"type": "response.output_item.done", "output_index": 0, "item": done_item},
    ]
    assert last["type"] == "response.completed"
    assert without_ids(last)["response"]["output"] == [done_item]
    assert last["response"]["usage"]["total_tokens"] == 4


def test_the_last_event_has_the_whole_answer(echo_door: Door):
    """Given the same question, when it is asked both ways, then the last event is the answer."""
    streamed = events_of(stream(echo_door, temperature=0.5))[-1]["response"]
    body = {"model": "echo", "input": "one two", "temperature": 0.5}
    whole = echo_door.post(f"{V1}/responses", body).json
    for response in (streamed, whole):
        response["output"][0].pop("id")
        response.pop("id")
        response.pop("created_at")
    assert streamed == whole


def test_a_call_is_an_item_of_its_own(echo_door: Door):
    """Given a tool call, when it is streamed, then its arguments come between its item's ends."""
    inside = events_of(stream(echo_door, tools=TOOLS, tool_choice="required"))[2:-1]
    arguments = '{"text":"one two"}'
    place = {"item_id": inside[0]["item"]["id"], "output_index": 0}
    call_id = inside[0]["item"]["call_id"]
    item = {"id": place["item_id"], "type": "function_call", "call_id": call_id, "name": "look_up"}
    kind = "response.function_call_arguments"
    assert inside == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "arguments": ""},
        },
        {"type": f"{kind}.delta", **place, "delta": arguments},
        {"type": f"{kind}.done", **place, "name": "look_up", "arguments": arguments},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "status": "completed", "arguments": arguments},
        },
    ]


def test_an_answer_cut_short_ends_as_incomplete(echo_door: Door):
    """Given a bound, when a stream reaches it, then its last event says so."""
    last = events_of(stream(echo_door, max_output_tokens=1))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_empty_answer_is_an_empty_message(echo_door: Door):
    """Given an answer of no words, when it is streamed, then there is a message all the same."""
    events = events_of(stream(echo_door, max_output_tokens=0))
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["content"][0]["text"]) == ("message", "")


def test_a_stream_that_breaks_says_so_to_every_client(echo_door: Door):
    """Given an engine that fails in mid-stream, when it does, then the last event is an error.

    OpenAI's SDKs look for `error` in the payload, Vercel's AI SDK for the type and the number.
    """
    answer = stream(echo_door, "/fail-after 1 x")
    assert not answer.whole
    assert events_of(answer)[-1] == {
        "type": "error",
        "error": {
            "message": "The engine was told to fail.",
            "type": "server_error",
            "param": None,
            "code": "engine_failed",
        },
    }


def test_a_stream_that_cannot_begin_is_a_plain_refusal(echo_door: Door):
    """Given an engine that fails at once, when a stream is asked for, then it has a status."""
    assert refusal(stream(echo_door, "/fail"), 500)["code"] == "engine_failed"
    assert refusal(stream(echo_door, "word " * 5000), 400)["code"] == "context_length_exceeded"
    assert refusal(stream(echo_door, "word " * 5000), 400)["param"] == "input"
