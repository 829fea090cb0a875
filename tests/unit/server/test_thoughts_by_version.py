"""Thoughts of a model: inside the content before 2025-04-01, in a field of their own since."""

import json
from typing import Any

import pytest
from in_process import CHAT, Exchange, app, speaking

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)

THOUGHT = [ReasoningDelta("h"), ReasoningDelta("m")]
SAID = [TextDelta("so"), Finish("stop"), Usage(1, 3, reasoning_tokens=2)]
CALLED = [ToolCallDelta(ToolCall("c", "f", "{}")), Finish("tool_calls"), Usage(1, 3)]
INSIDE = ["", "?api-version=2024-04-01-preview", "?api-version=2024-05-01-preview"]
APART = ["?api-version=2025-04-01", "?api-version=2025-05-01", "?api-version=2031-01-01-preview"]


async def whole(query: str, *deltas: Delta) -> Any:
    exchange = Exchange("POST", f"/chat/completions{query}", CHAT)
    await app(speaking(*deltas))(exchange.scope, exchange.receive_whole, exchange.send)
    status, body = exchange.answer
    assert status == 200
    return body


async def streamed(query: str, *deltas: Delta) -> tuple[str, str]:
    """The content and the thoughts of a stream."""
    asked = CHAT.replace(b"{", b'{"stream":true,', 1)
    exchange = Exchange("POST", f"/chat/completions{query}", asked)
    await app(speaking(*deltas))(exchange.scope, exchange.receive_whole, exchange.send)
    *frames, _, _ = exchange.body.split(b"\n\n")
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in frames]
    found = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    contents = "".join(delta.get("content", "") for delta in found)
    return contents, "".join(delta.get("reasoning_content", "") for delta in found)


@pytest.mark.parametrize("query", INSIDE)
async def test_early_versions_have_them_inside(query: str):
    message = (await whole(query, *THOUGHT, *SAID))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "<think>hm</think>so"}
    assert await streamed(query, *THOUGHT, *SAID) == ("<think>hm</think>so", "")


@pytest.mark.parametrize("query", APART)
async def test_later_versions_have_them_apart(query: str):
    body = await whole(query, *THOUGHT, *SAID)
    message = body["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "so", "reasoning_content": "hm"}
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert await streamed(query, *THOUGHT, *SAID) == ("so", "hm")


@pytest.mark.parametrize("query", [*INSIDE, *APART])
async def test_without_thoughts_there_is_no_trace_of_them(query: str):
    message = (await whole(query, *SAID))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "so"}
    assert await streamed(query, *SAID) == ("so", "")


async def test_thoughts_before_a_call():
    message = (await whole(INSIDE[0], *THOUGHT, *CALLED))["choices"][0]["message"]
    assert message["content"] == "<think>hm</think>"
    assert len(message["tool_calls"]) == 1
    assert await streamed(INSIDE[0], *THOUGHT, *CALLED) == ("<think>hm</think>", "")
    message = (await whole(APART[0], *THOUGHT, *CALLED))["choices"][0]["message"]
    assert message["content"] is None
    assert message["reasoning_content"] == "hm"


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_the_reason_of_an_end_is_passed_on(reason: Any):
    body = await whole("", TextDelta("so"), Finish(reason), Usage(1, 1))
    assert body["choices"][0]["finish_reason"] == reason


async def test_an_answer_without_its_usage_is_none():
    exchange = Exchange("POST", "/chat/completions", CHAT)
    incomplete = app(speaking(TextDelta("so"), Finish("stop")))
    await incomplete(exchange.scope, exchange.receive_whole, exchange.send)
    assert exchange.answer[0] == 500
