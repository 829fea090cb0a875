"""Streams of other servers: what comes together is read together."""

import pytest

from zaffre.core.deltas import Delta, Finish, TextDelta, Usage
from zaffre.core.errors import EngineFailed
from zaffre.upstream.transport import read_together

USAGE = Usage(1, 2)


class Words:
    """Reads a word as itself, `end` as the finish, and `-` as nothing."""

    def __init__(self, usage: Usage | None = USAGE) -> None:
        self._usage = usage

    def read(self, payload: bytes) -> list[Delta]:
        match payload:
            case b"end":
                return [Finish("stop")]
            case b"-":
                return []
            case b"error":
                raise EngineFailed("It broke.")
            case _:
                return [TextDelta(payload.decode())]

    def read_whole(self, content: bytes) -> list[Delta]:
        return self.read(content)

    def close(self) -> Usage:
        if self._usage is None:
            raise EngineFailed("Not whole.")
        return self._usage


def test_what_comes_together_is_one_batch_and_the_usage_ends_it():
    payloads = [b"a", b"-", b"b", b"end", b"[DONE]", b"never"]
    expected = [TextDelta("a"), TextDelta("b"), Finish("stop"), USAGE]
    assert read_together(payloads, Words()) == (expected, None)


@pytest.mark.parametrize(("last", "text"), [(b"error", "It broke."), (b"[DONE]", "Not whole.")])
def test_what_was_said_before_the_trouble_is_not_lost(last: bytes, text: str):
    batch, trouble = read_together([b"a", last, b"never"], Words(usage=None))
    assert batch == [TextDelta("a")]
    assert isinstance(trouble, EngineFailed)
    assert trouble.message == text
