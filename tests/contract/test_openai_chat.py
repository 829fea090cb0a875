"""Chat on OpenAI v1: answers and streams byte for byte, and the standard parameters."""

from typing import Any

import pytest
from openai_bytes import CHAT, LOOK_UP, TOOLS, USER, V1, event_stream, refusal, steady
from raw_http import Answer, Door

ANSWER = (
    '{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"echo","choices":['
    '{"index":0,"message":{"role":"assistant","content":"one two"},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}'
)
HEAD = '{"id":"chatcmpl-","object":"chat.completion.chunk","created":0,"model":"echo",'
CALL = '"type":"function","function":{"name":"look_up","arguments":"{\\"text\\":\\"one two\\"}"}}]'


def chat(door: Door, **extra: Any) -> Answer:
    return door.post(f"{V1}/chat/completions", {**CHAT, **extra})


def chunk(delta: str, *, index: int = 0, reason: str = "null", tail: str = "") -> str:
    choice = f'{{"index":{index},"delta":{delta},"finish_reason":{reason}}}'
    return f'{HEAD}"choices":[{choice}]{tail}}}'


def test_an_answer(echo_door: Door):
    """Given a question, when it is asked whole, then these are the bytes."""
    assert steady(chat(echo_door)) == ANSWER


def test_an_answer_has_its_headers(echo_door: Door):
    """Given an answer, when its headers are read, then they name it and its deployment."""
    answer = chat(echo_door)
    assert answer.header("x-ms-deployment-name") == "echo"
    assert answer.header("x-request-id") == answer.header("apim-request-id")
    assert answer.header("azureml-model-deployment") is None


def test_a_stream_has_no_usage_unless_asked(echo_door: Door):
    """Given no stream options, when an answer is streamed, then no chunk speaks of usage."""
    expected = event_stream(
        chunk('{"role":"assistant","content":""}'),
        chunk('{"content":"one "}'),
        chunk('{"content":"two"}'),
        chunk("{}", reason='"stop"'),
    )
    assert steady(chat(echo_door, stream=True)) == expected
    options = {"include_usage": False, "include_obfuscation": False}
    assert steady(chat(echo_door, stream=True, stream_options=options)) == expected


def test_a_stream_ends_with_its_usage_when_asked(echo_door: Door):
    """Given include_usage, when an answer is streamed, then a chunk of its own has the counts."""
    none = ',"usage":null'
    usage = '"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}'
    answer = chat(echo_door, stream=True, stream_options={"include_usage": True})
    assert steady(answer) == event_stream(
        chunk('{"role":"assistant","content":""}', tail=none),
        chunk('{"content":"one "}', tail=none),
        chunk('{"content":"two"}', tail=none),
        chunk("{}", reason='"stop"', tail=none),
        f'{HEAD}"choices":[],{usage}}}',
    )


def test_choices_of_a_stream_each_have_a_beginning_and_an_end(echo_door: Door):
    """Given n = 2, when answers are streamed, then each choice has its own role and reason."""
    assert steady(chat(echo_door, stream=True, n=2)) == event_stream(
        *(
            chunk(delta, index=index, reason=reason)
            for index in (0, 1)
            for delta, reason in (
                ('{"role":"assistant","content":""}', "null"),
                ('{"content":"one "}', "null"),
                ('{"content":"two"}', "null"),
                ("{}", '"stop"'),
            )
        )
    )


def test_several_choices(echo_door: Door):
    """Given n = 3, when the answer comes whole, then it has three choices and all their tokens."""
    answer = chat(echo_door, n=3).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}


def test_a_tool_call(echo_door: Door):
    """Given tools, when the model calls one, then content is null and arguments are text."""
    assert steady(chat(echo_door, tools=TOOLS)) == (
        '{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"echo","choices":['
        '{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_",'
        f'{CALL}}},"finish_reason":"tool_calls"}}],'
        '"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}'
    )


def test_a_streamed_tool_call_comes_in_one_piece(echo_door: Door):
    """Given tools, when a call is streamed, then one delta has all of it (section 17 row 1)."""
    assert steady(chat(echo_door, tools=TOOLS, stream=True)) == event_stream(
        chunk(f'{{"role":"assistant","tool_calls":[{{"index":0,"id":"call_",{CALL}}}'),
        chunk("{}", reason='"tool_calls"'),
    )


def test_a_tool_dialogue_is_read_as_clients_echo_it(echo_door: Door):
    """Given the quirks of real clients, when they feed a result back, then the model answers."""
    function = {"name": "look_up", "arguments": {"text": "a"}}
    call = {"index": 0, "id": "call_1", "call_id": None, "type": "function", "function": function}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "d"},
        *USER,
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "name": "look_up", "content": "found"},
    ]
    answer = chat(echo_door, messages=messages, tools=TOOLS, parallel_tool_calls=False).json
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "one two"}


@pytest.mark.parametrize(
    "choice", ["other", {"type": "function", "function": {"name": "other"}}], ids=["bare", "whole"]
)
def test_a_tool_is_named_with_or_without_its_wrapping(echo_door: Door, choice: Any):
    """Given a choice by name, even as langchain-azure-ai writes it, then that tool is called."""
    tools = [*TOOLS, {"type": "function", "function": {**LOOK_UP, "name": "other"}}]
    (called,) = chat(echo_door, tools=tools, tool_choice=choice).json["choices"]
    assert called["message"]["tool_calls"][0]["function"]["name"] == "other"


def test_a_choice_that_names_no_tool_is_refused(echo_door: Door):
    """Given a name that no tool has, when it is chosen, then the refusal points at it."""
    error = refusal(chat(echo_door, tools=TOOLS, tool_choice="other"), 400)
    assert (error["param"], error["code"]) == ("tool_choice", "invalid_value")
    whole = {"type": "function", "function": {"name": "other"}}
    error = refusal(chat(echo_door, tools=TOOLS, tool_choice=whole), 400)
    assert error["param"] == "tool_choice.function.name"


@pytest.mark.parametrize(
    "extra",
    [
        {"max_tokens": 1},
        {"max_completion_tokens": 1},
        {"max_completion_tokens": 1, "max_tokens": 100},
    ],
)
def test_tokens_are_bounded_by_either_name(echo_door: Door, extra: dict[str, int]):
    """Given a bound, when it is reached, then the answer ends there and says so."""
    choice = chat(echo_door, **extra).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one ", "length")


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "somebody", "metadata": {"a": "b"}, "safety_identifier": "x"},
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h"},
        {"store": False, "service_tier": "auto", "verbosity": "medium"},
        {"n": 1, "temperature": 1, "top_p": 1.0, "presence_penalty": 0, "seed": 7},
        {"logprobs": False, "top_logprobs": 0, "parallel_tool_calls": True, "tools": []},
        {"response_format": {"type": "text"}, "modalities": ["text"], "tool_choice": "auto"},
        {"logit_bias": {}, "stop": ["x"] * 4, "stream": False, "stream_options": None},
        dict.fromkeys(("n", "store", "service_tier", "functions", "tools", "foo", "logprobs")),
    ],
    ids=str,
)
def test_what_asks_for_nothing_changes_nothing(echo_door: Door, extra: dict[str, Any]):
    """Given notes, defaults and nulls, when they are sent along, then the answer is the same."""
    assert steady(chat(echo_door, **extra)) == ANSWER


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"verbosity": "low"}, "verbosity"),
    ],
    ids=str,
)
def test_what_the_model_cannot_do_is_refused(echo_door: Door, extra: dict[str, Any], param: str):
    """Given a parameter that this model lacks, when it is sent, then the refusal names it."""
    error = refusal(chat(echo_door, **extra), 400)
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")


@pytest.mark.parametrize("name", ["foo", "functions", "prediction", "web_search_options", "audio"])
def test_a_key_outside_the_schema_is_refused(echo_door: Door, name: str):
    """Given a key that would do nothing, when it is sent, then it is not ignored."""
    error = refusal(chat(echo_door, **{name: {"a": 1}}), 400)
    assert error["message"] == f"Unrecognized request argument supplied: {name}"
    assert error["param"] == name


def test_the_header_of_the_other_dialect_does_nothing(echo_door: Door):
    """Given extra-parameters, when this dialect reads it, then nothing passes that did not."""
    for mode in ("pass-through", "drop", "error"):
        headers = {"extra-parameters": mode}
        url = f"{V1}/chat/completions"
        assert echo_door.post(url, {**CHAT, "foo": 1}, headers).status == 400
        assert echo_door.post(url, {**CHAT, "n": 2}, headers).status == 200


@pytest.mark.parametrize(
    ("extra", "param", "message"),
    [
        ({"n": 9}, "n", "'n' must be between 1 and 8."),
        ({"temperature": 2.1}, "temperature", "'temperature' must be between 0 and 2."),
        ({"stop": ["x"] * 5}, "stop", "'stop' takes at most 4 texts."),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "At most 20."),
        ({"top_logprobs": 2}, "top_logprobs", "'top_logprobs' needs 'logprobs'."),
        ({"messages": []}, "messages", "'messages' must have at least one message."),
        ({"tool_choice": "required"}, "tool_choice", "'tool_choice' needs 'tools'."),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "A bias is from -100 to 100."),
        ({"logit_bias": {"five": 1}}, "logit_bias.five", "Keys are token ids."),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_value_out_of_bounds_is_refused(
    echo_door: Door, extra: dict[str, Any], param: str, message: str
):
    """Given a value that no model takes, when it is sent, then the refusal says what it takes."""
    assert refusal(chat(echo_door, **extra), 400) == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": "invalid_value",
    }


def test_the_place_of_a_fault_is_written_as_openai_does(echo_door: Door):
    """Given a fault deep inside, when it is refused, then `param` leads there."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    text = {"type": "text", "text": "x"}
    error = refusal(
        chat(echo_door, messages=[*USER, {"role": "user", "content": [text, picture]}]), 400
    )
    assert error["param"] == "messages[1].content[1]"
    error = refusal(chat(echo_door, messages=[{"role": "someone", "content": "x"}]), 400)
    assert error["param"] == "messages[0].role"
    error = refusal(chat(echo_door, temperature="hot"), 400)
    assert error["param"] == "temperature"


def test_too_long_a_prompt_has_the_code_that_programs_look_for(echo_door: Door):
    """Given more words than fit, when they are sent, then the code is OpenAI's."""
    error = refusal(
        chat(echo_door, messages=[{"role": "user", "content": "word " * 5000}], stream=True), 400
    )
    assert error["code"] == "context_length_exceeded"
    assert "maximum context length is 4096 tokens" in error["message"]


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_that_breaks_says_so_and_has_no_end(echo_door: Door, include_usage: bool):
    """Given an engine that fails in mid-stream, when it does, an error event is the last."""
    answer = chat(
        echo_door,
        messages=[{"role": "user", "content": "/fail-after 1 x"}],
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    assert not answer.whole
    assert answer.payloads[-1] == (
        b'{"error":{"message":"The engine was told to fail.","type":"server_error","param":null,'
        b'"code":"engine_failed"}}'
    )


def test_a_stream_that_cannot_begin_is_a_plain_refusal(echo_door: Door):
    """Given an engine that fails at once, when a stream is asked for, then it has a status."""
    answer = chat(echo_door, messages=[{"role": "user", "content": "/fail"}], stream=True)
    error = refusal(answer, 500)
    assert (error["type"], error["code"]) == ("server_error", "engine_failed")
