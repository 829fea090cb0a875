"""Messages: every role, every kind of content, and what clients send back (rows 16, 40, 49)."""

import base64
import json
from typing import Any

import pytest
from raw_http import Answer, Door

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
USER = {"role": "user", "content": "hello there"}


def said(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def refused(answer: Answer, status: int, *location: str | int) -> str:
    assert answer.status == status, answer.body
    assert answer.error["detail"][0]["loc"] == ["body", *location]
    return str(answer.error["message"])


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("content", ["be brief", [{"type": "text", "text": "be brief"}]])
def test_instructions_count_as_prompt(many: Door, role: str, content: Any):
    answer = many.chat(messages=[{"role": role, "content": content}, USER])
    assert said(answer) == "hello there"
    assert answer.json["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hello", "hello"),
        ("", ""),
        ("  white\n space\t ", "  white\n space\t "),
        ("한국어 😀 \u2028 \x00 e\u0301", "한국어 😀 \u2028 \x00 e\u0301"),
        ([{"type": "text", "text": "a b"}], "a b"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a b"),
        ([{"type": "text", "content": "the docs' own spelling"}], "the docs' own spelling"),
        ([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], "a"),
    ],
)
def test_user_content_is_text_or_parts(many: Door, content: Any, expected: str):
    assert said(many.chat(messages=[{"role": "user", "content": content}])) == expected


def test_a_whole_dialogue_with_tools_comes_back_as_clients_send_it(many: Door):
    """Nulls, unknown keys and arguments as an object: the SDK sends what it was given (4.2)."""
    call = {"id": "c1", "type": "function", "call_id": None, "index": 0}
    messages: list[Any] = [
        {"role": "system", "content": "be brief", "name": "boss", "weight": 1},
        {"role": "user", "content": "first", "name": None},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {**call, "function": {"name": "f", "arguments": '{"a": 1}', "call_id": None}},
                {**call, "id": "c2", "function": {"name": "f", "arguments": {"a": 1}}},
                {"id": "c3", "type": "function", "function": {"name": "f", "arguments": None}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42", "name": "f"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "43"}]},
        {"role": "tool", "tool_call_id": "c3", "content": None},
        {"role": "assistant", "content": "so far", "tool_calls": None, "audio": None},
        {"role": "assistant", "content": [{"type": "text", "text": "more"}], "tool_calls": []},
        {"role": "assistant"},
        {"role": "user", "content": "second"},
    ]
    assert said(many.chat(messages=messages)) == "second"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": None}},
        {"type": "image_url", "image_url": PNG},
        {"type": "image_url", "content": PNG, "detail": "auto"},
        {"type": "image", "content": PNG},
    ],
    ids=str,
)
def test_images_are_read_and_refused_by_a_model_without_eyes(many: Door, part: Any):
    messages = [USER, {"role": "user", "content": [{"type": "text", "text": "what?"}, part]}]
    for stream in (False, True):
        answer = many.chat(messages=messages, stream=stream)
        message = refused(answer, 422, "messages", 1, "content", 1)
        assert "image" in message
        assert answer.error["code"] == "parameter_not_supported"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": "data:audio/mp3;base64,UklGRg=="}},
        {"type": "audio_url", "audio_url": {"url": "https://example.org/a.mp3"}},
    ],
    ids=str,
)
def test_sound_is_read_and_refused_by_a_model_without_ears(many: Door, part: Any):
    answer = many.chat(messages=[{"role": "user", "content": [part]}])
    assert "audio" in refused(answer, 422, "messages", 0, "content", 0)


@pytest.mark.parametrize(
    ("message", "location"),
    [
        ({"role": "user"}, ["content"]),
        ({"role": "user", "content": None}, ["content"]),
        ({"role": "system"}, ["content"]),
        ({"role": "developer", "content": None}, ["content"]),
        ({"role": "system", "content": [{"type": "image", "content": PNG}]}, ["content", 0]),
        ({"role": "tool", "content": "42"}, ["tool_call_id"]),
        ({"role": "tool", "tool_call_id": "", "content": "42"}, ["tool_call_id"]),
        ({"role": "narrator", "content": "then"}, ["role"]),
        ({"role": "", "content": "x"}, ["role"]),
        ({"role": "User", "content": "x"}, ["role"]),
        ({"role": "user", "content": [{"type": "smell", "text": "x"}]}, ["content", 0, "type"]),
        ({"role": "user", "content": [{"type": "text"}]}, ["content", 0]),
        ({"role": "user", "content": [{"type": "image_url"}]}, ["content", 0]),
        ({"role": "user", "content": [{"type": "input_audio"}]}, ["content", 0]),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]},
            ["tool_calls", 0, "function", "name"],
        ),
    ],
    ids=str,
)
def test_what_is_no_message_is_refused_with_its_place(
    many: Door, message: Any, location: list[str | int]
):
    refused(many.chat(messages=[USER, message]), 400, "messages", 1, *location)


@pytest.mark.parametrize(
    ("message", "location"),
    [
        ({"content": "x"}, []),
        ("hello", []),
        (None, []),
        ([], []),
        ({"role": 1, "content": "x"}, ["role"]),
        ({"role": "user", "content": 1}, ["content"]),
        ({"role": "user", "content": {"type": "text", "text": "x"}}, ["content"]),
        ({"role": "user", "content": ["x"]}, ["content", 0]),
        ({"role": "user", "content": [{"text": "x"}]}, ["content", 0]),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, ["content", 0, "text"]),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": 1}]},
            ["content", 0, "image_url"],
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            ["content", 0, "image_url"],
        ),
        ({"role": "assistant", "tool_calls": {}}, ["tool_calls"]),
        ({"role": "assistant", "tool_calls": [1]}, ["tool_calls", 0]),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 1}}]},
            ["tool_calls", 0, "function", "arguments"],
        ),
    ],
    ids=str,
)
def test_wrong_types_are_refused_with_their_place(
    many: Door, message: Any, location: list[str | int]
):
    refused(many.chat(messages=[USER, message]), 400, "messages", 1, *location)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,",
        "data:image/png;base64,%%%",
        "data:image/png;base64,aGk",
        "data:image/png,raw",
        "data:",
        "",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "/etc/passwd",
    ],
)
def test_a_bad_address_of_an_image_is_refused(many: Door, url: str):
    part = {"type": "image_url", "image_url": {"url": url}}
    answer = many.chat(messages=[{"role": "user", "content": [part]}])
    refused(answer, 400, "messages", 0, "content", 0, "image_url", "url")


def test_there_must_be_a_message(many: Door):
    refused(many.chat(messages=[]), 400, "messages")
    for body in ({}, {"messages": None}):
        answer = many.post("/chat/completions", body)
        assert answer.status == 400
        assert "messages" in answer.error["message"]


def test_there_may_be_thousands_of_messages_and_not_more(many: Door):
    assert said(many.chat(messages=[USER] * 1024)) == "hello there"
    for count in (4097, 100_000):
        refused(many.chat(messages=[{"role": "user", "content": ""}] * count), 400, "messages")


def test_a_prompt_longer_than_the_context_is_refused(many: Door):
    for body in ({}, {"stream": True}):
        answer = many.chat("word " * 5000, **body)
        assert answer.status == 400
        assert answer.error["code"] == "context_length_exceeded"
        assert "4096" in answer.error["message"]


def test_every_letter_survives_the_way_through(many: Door):
    text = "".join(map(chr, [*range(0x20), *range(0x7F, 0x2FF), 0x2028, 0xFFFD, 0xFFFF, 0x10FFFF]))
    assert said(many.chat(text)) == text
    pieces = [c["choices"][0]["delta"]["content"] for c in many.chat(text, stream=True).chunks]
    assert "".join(pieces) == text


def test_a_key_that_comes_twice_counts_once(many: Door):
    body = json.dumps({"messages": [USER]})[:-1] + ', "model": "x", "model": "second"}'
    answer = many.post("/chat/completions", body.encode())
    assert answer.json["model"] == "second"
