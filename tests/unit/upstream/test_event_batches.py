"""Streams of other servers, in batches: what comes together leaves together."""

from collections.abc import AsyncGenerator

import pytest

from zaffre.core.deltas import Delta, Finish, TextDelta, Usage
from zaffre.core.errors import EngineFailed
from zaffre.upstream.transport import read_events

USAGE = Usage(1, 2)


async def coming(*pieces: list[bytes]) -> AsyncGenerator[list[bytes], None]:
    for piece in pieces:
        yield piece


def read(payload: bytes) -> list[Delta]:
    """What a payload means here: a word itself, `end` the finish, `-` nothing."""
    match payload:
        case b"end":
            return [Finish("stop")]
        case b"-":
            return []
        case b"error":
            raise EngineFailed("It broke.")
        case _:
            return [TextDelta(payload.decode())]


def close() -> Usage:
    return USAGE


async def test_what_comes_together_is_one_batch_and_the_usage_ends_the_last():
    events = coming([b"a", b"b"], [b"-"], [b"c", b"end", b"[DONE]"])
    assert [batch async for batch in read_events(events, read, close)] == [
        [TextDelta("a"), TextDelta("b")],
        [TextDelta("c"), Finish("stop"), USAGE],
    ]


async def test_a_stream_without_an_end_marker_has_its_usage_at_its_end():
    events = coming([b"a", b"end"])
    assert [batch async for batch in read_events(events, read, close)] == [
        [TextDelta("a"), Finish("stop")],
        [USAGE],
    ]


async def test_what_was_said_before_an_error_in_the_same_piece_is_handed_out():
    batches = read_events(coming([b"a", b"error", b"never"]), read, close)
    assert await anext(batches) == [TextDelta("a")]
    with pytest.raises(EngineFailed, match="It broke"):
        await anext(batches)


async def test_what_was_said_before_an_end_that_is_none_is_handed_out():
    def not_whole() -> Usage:
        raise EngineFailed("Not whole.")

    batches = read_events(coming([b"a", b"[DONE]"]), read, not_whole)
    assert await anext(batches) == [TextDelta("a")]
    with pytest.raises(EngineFailed, match="Not whole"):
        await anext(batches)
