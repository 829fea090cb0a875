"""Formats and tools: spellings, refusals and whole answers (rows 16, 20)."""

import json
from typing import Any

import pytest
from raw_http import Answer, Door

FUNCTION = {"name": "look_up", "description": "Find it", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
OTHER = {"type": "function", "function": {"name": "other"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}


def format_of(**changed: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, **changed}}


def content_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def refused(answer: Answer, *location: str | int) -> None:
    assert answer.status == 400, answer.body
    assert answer.error["detail"][0]["loc"] == ["body", *location]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, "hi"),
        ("text", "hi"),
        ({"type": "text"}, "hi"),
        ("json_object", "{}"),
        ({"type": "json_object"}, "{}"),
        ({"type": "json_object", "json_schema": None}, "{}"),
        (format_of(), '{"a":"","b":""}'),
        (format_of(strict=True, description="d"), '{"a":"","b":""}'),
        (format_of(strict=None, description=None, unknown=1), '{"a":"","b":""}'),
    ],
    ids=str,
)
def test_a_format_is_an_object_or_a_word(many: Door, asked: Any, expected: str):
    assert content_of(many.chat("hi", response_format=asked)) == expected


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("yaml", ["response_format", "type"]),
        ("json_schema", ["response_format", "json_schema"]),
        ({"type": "xml"}, ["response_format", "type"]),
        ({"type": "json_schema"}, ["response_format", "json_schema"]),
        ({"type": "json_schema", "json_schema": None}, ["response_format", "json_schema"]),
        (format_of(schema=None), ["response_format", "json_schema", "schema"]),
        (format_of(name="a b"), ["response_format", "json_schema", "name"]),
        (format_of(name=""), ["response_format", "json_schema", "name"]),
        (format_of(name="n" * 65), ["response_format", "json_schema", "name"]),
        (format_of(schema=[]), ["response_format", "json_schema", "schema"]),
        (format_of(strict="yes"), ["response_format", "json_schema", "strict"]),
        ({}, ["response_format"]),
        (5, ["response_format"]),
        (["text"], ["response_format"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_format_is_refused_with_its_place(
    many: Door, asked: Any, location: list[str | int]
):
    refused(many.chat("hi", response_format=asked), *location)


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", None, {"type": "function", "function": {"name": "look_up"}}],
    ids=str,
)
def test_a_tool_call_comes_whole(many: Door, choice: Any):
    answer = many.chat("one two", tools=[TOOL], tool_choice=choice).json
    (only,) = answer["choices"]
    assert only["finish_reason"] == "tool_calls"
    message = only["message"]
    assert message["role"] == "assistant"
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["id"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "look_up"
    assert json.loads(call["function"]["arguments"]) == {"text": "one two"}
    assert "index" not in call


def test_the_named_tool_is_called(many: Door):
    choice = {"type": "function", "function": {"name": "other"}}
    answer = many.chat("x", tools=[TOOL, OTHER], tool_choice=choice).json
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "other"


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [TOOL], "tool_choice": "none"},
        {"tools": []},
        {"tools": None},
        {"tools": None, "tool_choice": None},
        {"tool_choice": "none"},
        {"tool_choice": "auto"},
        {"tools": [], "tool_choice": "auto"},
    ],
    ids=str,
)
def test_without_a_tool_to_call_the_model_answers(many: Door, asked: dict[str, Any]):
    answer = many.chat("hi", **asked)
    assert content_of(answer) == "hi"
    assert "tool_calls" not in answer.json["choices"][0]["message"]


@pytest.mark.parametrize(
    "function",
    [
        {"name": "f"},
        {"name": "f", "parameters": None, "description": None, "strict": None},
        {"name": "f", "parameters": {}},
        {"name": "f" * 64, "strict": True, "unknown": {"a": 1}},
        {"name": "A-z_0"},
    ],
    ids=str,
)
def test_a_tool_needs_little(many: Door, function: dict[str, Any]):
    tool = {"type": "function", "function": function, "cache": True}
    answer = many.chat("hi", tools=[tool]).json
    called = answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"]
    assert called == function["name"]


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ({"tools": [{"type": "function"}]}, ["tools", 0, "type"]),
        ({"tools": [TOOL, {"type": "browser"}]}, ["tools", 1, "type"]),
        ({"tools": [{"type": "function", "function": {}}]}, ["tools", 0, "function"]),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            ["tools", 0, "function", "name"],
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            ["tools", 0, "function", "parameters"],
        ),
        ({"tools": "look_up"}, ["tools"]),
        ({"tools": [OTHER] * 129}, ["tools"]),
        ({"tools": [TOOL], "tool_choice": "somebody"}, ["tool_choice"]),
        ({"tools": [TOOL], "tool_choice": 1}, ["tool_choice"]),
        ({"tools": [TOOL], "tool_choice": {}}, ["tool_choice", "function", "name"]),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            ["tool_choice", "function", "name"],
        ),
        ({"tool_choice": "required"}, ["tool_choice"]),
        ({"tools": [], "tool_choice": "required"}, ["tool_choice"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_tool_is_refused_with_its_place(
    many: Door, asked: dict[str, Any], location: list[str | int]
):
    refused(many.chat("hi", **asked), *location)


def test_the_second_turn_takes_the_first_ones_answer_as_it_came(many: Door):
    asked: dict[str, Any] = {"role": "user", "content": "one two"}
    first = many.chat(messages=[asked], tools=[TOOL]).json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "42"}
    second = many.chat(messages=[asked, first, result], tools=[TOOL])
    assert content_of(second) == "one two"
