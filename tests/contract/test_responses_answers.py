"""The Responses API: whole answers byte for byte, its items, and what would need a memory."""

import json
from typing import Any

import pytest
from openai_bytes import DEPLOYMENT, LOOK_UP, V1, refusal, steady
from raw_http import Answer, Door

TOOLS = [{"type": "function", **LOOK_UP}]
MOUNTS = [f"{V1}/responses", "/v1/responses", "/openai/responses", f"{DEPLOYMENT}/responses"]


def respond(door: Door, **body: Any) -> Answer:
    return door.post(f"{V1}/responses", {"model": "echo", "input": "one two", **body})


def texts(answer: Answer) -> list[str]:
    """The texts of the answer's messages."""
    items = answer.json["output"]
    return [part["text"] for item in items if item["type"] == "message" for part in item["content"]]


@pytest.mark.parametrize("path", MOUNTS)
def test_an_answer(echo_door: Door, path: str):
    """Given a text, when it is answered on any mount, then these are the bytes."""
    answer = echo_door.post(path, {"model": "echo", "input": "one two"})
    assert steady(answer) == (
        '{"id":"resp_","object":"response","created_at":0,"status":"completed",'
        '"background":false,"error":null,"incomplete_details":null,"instructions":null,'
        '"max_output_tokens":null,"max_tool_calls":null,"model":"echo","output":[{"id":"msg_",'
        '"type":"message","status":"completed","role":"assistant","content":[{"text":"one two",'
        '"type":"output_text","annotations":[],"logprobs":[]}]}],"parallel_tool_calls":true,'
        '"previous_response_id":null,"reasoning":{"effort":null},"service_tier":"default",'
        '"store":false,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto",'
        '"tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{'
        '"input_tokens":2,"input_tokens_details":{"cached_tokens":0},"output_tokens":2,'
        '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":4},"user":null,'
        '"metadata":{}}'
    )


def test_the_request_is_said_again(echo_door: Door):
    """Given parameters, when they are answered, then the response has them."""
    asked = {
        "instructions": "Be brief.",
        "max_output_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "user": "u",
        "metadata": {"a": "b"},
    }
    response = respond(echo_door, **asked).json
    assert {name: response[name] for name in asked} == asked


def test_a_tool_call_is_an_item_of_its_own(echo_door: Door):
    """Given flat tools, when one is called, then the call is an item with text as arguments."""
    response = respond(echo_door, tools=TOOLS, tool_choice="required").json
    (item,) = response["output"]
    assert item["id"].startswith("fc_")
    assert item["call_id"].startswith("call_")
    assert (item["type"], item["name"]) == ("function_call", "look_up")
    assert json.loads(item["arguments"]) == {"text": "one two"}
    assert response["tools"][0]["name"] == "look_up"
    assert response["tool_choice"] == "required"


def test_a_tool_is_named(echo_door: Door):
    """Given two tools, when the choice names the second, then it is the one that is called."""
    other = {**TOOLS[0], "name": "other"}
    choice = {"type": "function", "name": "other"}
    response = respond(echo_door, tools=[*TOOLS, other], tool_choice=choice).json
    assert response["output"][0]["name"] == "other"


def test_a_conversation_is_sent_whole(echo_door: Door):
    """Given the items of earlier turns, when they are sent back, then they are one conversation."""
    called = respond(echo_door, tools=TOOLS, tool_choice="required").json["output"]
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "find it"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        *called,
        {"type": "function_call_output", "call_id": called[0]["call_id"], "output": "found"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"role": "user", "content": "and now"},
    ]
    answer = respond(echo_door, input=items, tools=TOOLS, tool_choice="none")
    assert texts(answer) == ["and now"]


def test_the_form_of_the_text_is_held(echo_door: Door):
    """Given a schema under text.format, when it is answered, then in that form."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}
    answer = respond(echo_door, text={"format": form})
    assert texts(answer) == ['{"a":""}']
    assert answer.json["text"]["format"] == form


def test_an_answer_cut_short_is_incomplete(echo_door: Door):
    """Given a bound, when it is reached, then the status and the reason say so."""
    response = respond(echo_door, max_output_tokens=1).json
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    "extra",
    [
        {"store": False, "background": False, "previous_response_id": None},
        {"truncation": "disabled", "service_tier": "auto", "top_logprobs": 0},
        {"include": ["reasoning.encrypted_content"], "text": {"verbosity": "medium"}},
        {"safety_identifier": "x", "prompt_cache_key": "k", "stream_options": None},
    ],
    ids=str,
)
def test_what_asks_for_nothing_changes_nothing(echo_door: Door, extra: dict[str, Any]):
    """Given defaults and notes, when they are sent along, then the text is the same."""
    assert texts(respond(echo_door, **extra)) == ["one two"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("store", True),
        ("background", True),
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
    ],
)
def test_what_needs_a_memory_is_refused_with_the_way_out(echo_door: Door, name: str, value: Any):
    """Given a request that needs state, when it is sent, then the refusal says what to do."""
    error = refusal(respond(echo_door, **{name: value}), 400)
    assert error["param"] == name
    assert error["message"] == (
        "This server keeps no responses: send the whole conversation as 'input' each time, and"
        f" leave '{name}' out."
    )


def test_a_reference_to_a_kept_item_is_refused(echo_door: Door):
    """Given an item by its id, when it is sent, then the refusal says what to do."""
    items = [{"role": "user", "content": "a"}, {"type": "item_reference", "id": "msg_1"}]
    error = refusal(respond(echo_door, input=items), 400)
    assert error["param"] == "input[1]"
    assert "send the whole conversation" in error["message"]


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tool_calls": 2}, "max_tool_calls"),
        ({"truncation": "auto"}, "truncation"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools[0].type"),
        ({"tools": [*TOOLS, {"type": "file_search"}]}, "tools[1].type"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(echo_door: Door, extra: dict[str, Any], param: str):
    """Given what this server or model lacks, when it is sent, then the refusal names it."""
    error = refusal(respond(echo_door, **extra), 400)
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"foo": 1}, "foo"),
        ({"messages": []}, "messages"),
        ({"input": None}, "input"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [{"content": "a"}]}, "input[0].role"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"input": [{"role": "someone", "content": "a"}]}, "input"),
        ({"tools": [{**TOOLS[0], "name": "a b"}]}, "tools[0].name"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"temperature": "hot"}, "temperature"),
    ],
    ids=str,
)
def test_what_is_not_the_api_is_refused(echo_door: Door, extra: dict[str, Any], param: str):
    """Given what the API does not describe, when it is sent, then the refusal points at it."""
    error = refusal(respond(echo_door, **extra), 400)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
