"""Streams of the Azure dialect that the test double cannot cause: thoughts, and mixed answers."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Batches,
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.server.dialects.azure_stream import AnswerHead, chat_frames, text_frames

HEAD = AnswerHead("id", 1, "m")
CALL = ToolCall("c", "f", "{}")
HM, M, SO = ReasoningDelta("h"), ReasoningDelta("m"), TextDelta("so")
STOP, CALLED, USAGE = Finish("stop"), Finish("tool_calls"), Usage(1, 2)


async def say(*deltas: Delta) -> Batches:
    for delta in deltas:
        yield [delta]


async def chunks(frames: AsyncGenerator[bytes, None]) -> list[Any]:
    pieces = [piece async for piece in frames]
    *events, end, after = b"".join(pieces).split(b"\n\n")
    assert (end, after) == (b"data: [DONE]", b"")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


async def choices(*deltas: Delta, apart: bool = False) -> list[Any]:
    parsed = await chunks(chat_frames(say(*deltas), HEAD, thoughts_apart=apart))
    assert [bool(chunk.get("usage")) for chunk in parsed] == [False] * (len(parsed) - 1) + [True]
    return [choice for chunk in parsed for choice in chunk["choices"]]


async def contents(*deltas: Delta) -> str:
    return "".join(c["delta"].get("content", "") for c in await choices(*deltas))


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ((HM, M, SO, STOP, USAGE), "<think>hm</think>so"),
        ((HM, STOP, USAGE), "<think>h</think>"),
        ((SO, HM, SO, STOP, USAGE), "so<think>h</think>so"),
        ((HM, SO, M, STOP, USAGE), "<think>h</think>so<think>m</think>"),
        ((HM, ToolCallDelta(CALL), CALLED, USAGE), "<think>h</think>"),
        ((HM, SO, ToolCallDelta(CALL), CALLED, USAGE), "<think>h</think>so"),
        ((SO, STOP, USAGE), "so"),
    ],
)
async def test_early_versions_have_thoughts_between_tags(deltas: tuple[Delta, ...], expected: str):
    assert await contents(*deltas) == expected


async def test_later_versions_have_thoughts_apart():
    found = await choices(HM, M, SO, STOP, USAGE, apart=True)
    assert [choice["delta"] for choice in found] == [
        {"role": "assistant", "content": ""},
        {"content": "", "reasoning_content": "h"},
        {"content": "", "reasoning_content": "m"},
        {"content": "so"},
        {"content": ""},
    ]


async def test_calls_are_numbered_per_choice_and_say_their_role_once():
    found = await choices(
        ToolCallDelta(CALL),
        ToolCallDelta(CALL),
        CALLED,
        ToolCallDelta(CALL, 1),
        Finish("tool_calls", 1),
        USAGE,
    )
    calls = [
        (c["index"], call["index"]) for c in found for call in c["delta"].get("tool_calls", [])
    ]
    assert calls == [(0, 0), (0, 1), (1, 0)]
    assert [c["delta"].get("role") for c in found] == ["assistant", None, "assistant", None, None]
    assert all("content" not in choice["delta"] for choice in found)


async def test_what_was_said_before_a_call_stays():
    found = await choices(SO, ToolCallDelta(CALL), CALLED, USAGE)
    assert [list(choice["delta"]) for choice in found] == [
        ["role", "content"],
        ["content"],
        ["tool_calls"],
        ["content"],
    ]


async def test_choices_that_take_turns_keep_their_own_state():
    found = await choices(
        ReasoningDelta("a", 0),
        TextDelta("b", 1),
        TextDelta("c", 0),
        ReasoningDelta("d", 1),
        Finish("stop", 1),
        Finish("length", 0),
        USAGE,
    )
    said = {
        i: "".join(c["delta"].get("content", "") for c in found if c["index"] == i) for i in (0, 1)
    }
    assert said == {0: "<think>a</think>c", 1: "b<think>d</think>"}
    ends = [(c["index"], c["finish_reason"]) for c in found if c["finish_reason"]]
    assert ends == [(1, "stop"), (0, "length")]


async def test_log_probabilities_stand_beside_their_text():
    token = TokenLogprob("so", -0.5, b"so")
    found = await choices(TextDelta("so", 0, (token,)), STOP, USAGE)
    (shown,) = [choice["logprobs"] for choice in found if "logprobs" in choice]
    assert shown["content"] == [
        {"token": "so", "logprob": -0.5, "bytes": [115, 111], "top_logprobs": []}
    ]


async def test_offsets_of_a_text_run_on_over_its_chunks():
    token = TokenLogprob("so", -0.5, b"so")
    deltas = say(TextDelta("so", 0, (token,)), TextDelta("so", 0, (token,)), STOP, USAGE)
    found = await chunks(text_frames(deltas, HEAD))
    logprobs = [chunk["choices"][0].get("logprobs") for chunk in found]
    assert [each["text_offset"] for each in logprobs if each] == [[0], [2]]


async def test_the_frames_own_the_deltas_and_close_them():
    closed = []

    async def endless() -> Batches:
        try:
            while True:
                yield [SO]
        finally:
            closed.append(True)

    for frames in (
        chat_frames(endless(), HEAD, thoughts_apart=True),
        text_frames(endless(), HEAD),
    ):
        await anext(frames)
        await frames.aclose()
    assert closed == [True, True]
