"""Text completions on OpenAI v1: every form of prompt, and the parameters of old."""

from typing import Any

import pytest
from openai_bytes import V1, event_stream, refusal, steady
from raw_http import Answer, Door

HEAD = '{"id":"cmpl-","object":"text_completion","created":0,"model":"echo",'


def complete(door: Door, **body: Any) -> Answer:
    return door.post(f"{V1}/completions", {"model": "echo", "prompt": "one two", **body})


def chunk(text: str, *, index: int = 0, reason: str = "null", tail: str = "") -> str:
    choice = f'{{"index":{index},"text":"{text}","finish_reason":{reason}}}'
    return f'{HEAD}"choices":[{choice}]{tail}}}'


def test_an_answer(echo_door: Door):
    """Given a prompt, when it is completed whole, then these are the bytes."""
    assert steady(complete(echo_door)) == (
        f'{HEAD}"choices":[{{"index":0,"text":"one two","finish_reason":"stop"}}],'
        '"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}'
    )


def test_a_stream(echo_door: Door):
    """Given two prompts, when they are streamed, then each has its index, and usage is last."""
    answer = complete(
        echo_door, prompt=["a b", "c"], stream=True, stream_options={"include_usage": True}
    )
    none = ',"usage":null'
    usage = '"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}'
    assert steady(answer) == event_stream(
        chunk("a ", tail=none),
        chunk("b", tail=none),
        chunk("", reason='"stop"', tail=none),
        chunk("c", index=1, tail=none),
        chunk("", index=1, reason='"stop"', tail=none),
        f'{HEAD}"choices":[],{usage}}}',
    )


def test_a_stream_has_no_usage_unless_asked(echo_door: Door):
    """Given no stream options, when a completion is streamed, then no chunk speaks of usage."""
    expected = event_stream(chunk("one "), chunk("two"), chunk("", reason='"stop"'))
    assert steady(complete(echo_door, stream=True)) == expected


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a b", ["a b"]),
        (["a b"], ["a b"]),
        (["a", "b c"], ["a", "b c"]),
        (None, ["<|endoftext|>"]),
    ],
)
def test_a_prompt_is_a_text_or_a_list_of_texts(echo_door: Door, prompt: Any, texts: list[str]):
    """Given a form of prompt, when it is completed, then there is a choice for each text."""
    choices = complete(echo_door, prompt=prompt).json["choices"]
    assert [choice["text"] for choice in choices] == texts
    assert [choice["index"] for choice in choices] == list(range(len(texts)))


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], ["a", [1]]])
def test_token_ids_are_refused_by_a_model_without_them(echo_door: Door, prompt: Any):
    """Given token ids, when the model takes text only, then nothing is made up from them."""
    error = refusal(complete(echo_door, prompt=prompt), 400)
    assert (error["param"], error["code"]) == ("prompt", "unsupported_parameter")


@pytest.mark.parametrize("prompt", [[], [1, "a"], {"a": 1}, 5])
def test_another_form_of_prompt_is_refused(echo_door: Door, prompt: Any):
    """Given no form of prompt, when it is sent, then the refusal points at it."""
    error = refusal(complete(echo_door, prompt=prompt), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == "prompt"


def test_choices_of_prompts_are_numbered_through(echo_door: Door):
    """Given two prompts and n = 2, when they are completed, then the first prompt's come first."""
    choices = complete(echo_door, prompt=["a", "b"], n=2).json["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]


def test_the_prompt_is_said_again_when_asked(echo_door: Door):
    """Given echo, when a prompt is completed, then it stands before its completion."""
    assert complete(echo_door, echo=True).json["choices"][0]["text"] == "one twoone two"


def test_sixteen_tokens_are_the_default(echo_door: Door):
    """Given no bound, when the model has more to say, then it stops at OpenAI's default."""
    choice = complete(echo_door, prompt="word " * 40).json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["text"] == "word " * 16


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"logprobs": 2}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logit_bias": {"5": -100}}, "logit_bias"),
    ],
    ids=str,
)
def test_what_the_model_cannot_do_is_refused(echo_door: Door, extra: dict[str, Any], param: str):
    """Given a parameter that this model lacks, when it is sent, then the refusal names it."""
    error = refusal(complete(echo_door, **extra), 400)
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")


@pytest.mark.parametrize("name", ["foo", "messages", "tools", "max_completion_tokens"])
def test_a_key_outside_the_schema_is_refused(echo_door: Door, name: str):
    """Given a key of another route, when it is sent here, then it is not ignored."""
    error = refusal(complete(echo_door, **{name: 1}), 400)
    assert error["message"] == f"Unrecognized request argument supplied: {name}"
