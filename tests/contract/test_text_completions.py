"""Text completions: prompts, defaults and streams (section 6.1, rows 19, 50)."""

import re
from typing import Any

import pytest
from raw_http import COMPLETIONS, PASS, Answer, Door


def generalised(answer: Answer) -> bytes:
    body = re.sub(rb'"id":"[0-9a-f]{8}-[0-9a-f-]{27}"', b'"id":"ID"', answer.body)
    return re.sub(rb'"created":\d+,', b'"created":1,', body)


def ask(door: Door, **asked: Any) -> Answer:
    return door.post(COMPLETIONS, {"prompt": "one two", **asked})


def test_a_whole_answer_byte_for_byte(many: Door):
    assert generalised(ask(many)) == (
        b'{"id":"ID","object":"text_completion","created":1,"model":"Echo","choices":[{"index":0,'
        b'"text":"one two","finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}'
    )


def test_a_stream_byte_for_byte(many: Door):
    head = b'data: {"id":"ID","object":"text_completion","created":1,"model":"Echo","choices":['
    expected = [
        head + b'{"index":0,"text":"one ","finish_reason":null}]}\n\n',
        head + b'{"index":0,"text":"two","finish_reason":null}]}\n\n',
        head + b'{"index":0,"text":"","finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}\n\n',
        b"data: [DONE]\n\n",
    ]
    answer = ask(many, stream=True)
    assert answer.header("content-type") == "text/event-stream; charset=utf-8"
    assert generalised(answer) == b"".join(expected)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("one two", ["one two"]),
        ("", [""]),
        (["one two"], ["one two"]),
        (["a", "b c", ""], ["a", "b c", ""]),
        (None, ["<|endoftext|>"]),
    ],
)
def test_a_prompt_is_text_or_a_list_of_texts(many: Door, prompt: Any, expected: list[str]):
    choices = ask(many, prompt=prompt).json["choices"]
    assert [choice["text"] for choice in choices] == expected
    assert [choice["index"] for choice in choices] == list(range(len(expected)))


def test_an_absent_prompt_is_the_docs_default(many: Door):
    assert many.post(COMPLETIONS, {}).json["choices"][0]["text"] == "<|endoftext|>"


def test_choices_run_over_prompts_and_then_over_n(many: Door):
    body = {"prompt": ["a b", "c"], "n": 2}
    choices = many.post(COMPLETIONS, body, PASS).json["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [
        (0, "a b"),
        (1, "a b"),
        (2, "c"),
        (3, "c"),
    ]
    chunks = many.post(COMPLETIONS, {**body, "stream": True}, PASS).chunks
    for choice in choices:
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]
        assert [c["finish_reason"] for c in own] == [None] * (len(own) - 1) + ["stop"]
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ([1, 2, 3], 422),
        ([[1, 2], [3]], 422),
        (["a", [1]], 422),
        ([], 400),
        (["a", 1], 400),
        ([1, "a"], 400),
        ([None], 400),
        ([1.5], 400),
        ([[["a"]]], 400),
        ({"text": "a"}, 400),
        (5, 400),
        (["a"] * 129, 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_prompts_are_refused_with_their_place(many: Door, prompt: Any, status: int):
    answer = ask(many, prompt=prompt)
    assert answer.status == status
    assert answer.error["detail"][0]["loc"][:2] == ["body", "prompt"]


def test_echo_and_suffix_where_the_model_knows_them(many: Door):
    echoed = many.post(COMPLETIONS, {"prompt": "a b", "echo": True}, PASS)
    assert echoed.json["choices"][0]["text"] == "a ba b"
    for name, value in (("suffix", "s"), ("best_of", 2), ("logprobs", 1)):
        answer = many.post(COMPLETIONS, {"prompt": "a b", name: value}, PASS)
        assert answer.status == 422
        assert answer.error["detail"][0]["loc"] == ["body", name]


def test_chats_own_fields_are_extra_here(many: Door):
    for name in ("messages", "tools", "response_format", "tool_choice", "modalities"):
        assert ask(many, **{name: []}).status == 400
