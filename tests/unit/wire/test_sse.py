"""Event framing: what we write, and what of other servers' streams we read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.wire import sse

PAYLOADS = st.lists(
    st.binary(min_size=1, max_size=20).filter(lambda p: not set(p) & set(b"\r\n")), max_size=8
)


def read(*pieces: bytes) -> list[bytes]:
    reader = sse.EventReader()
    return [payload for piece in pieces for payload in reader.feed(piece)]


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[a:b] for a, b in pairwise(edges)]


@given(PAYLOADS, st.lists(st.integers(0), max_size=20))
def test_what_is_written_is_read_however_it_is_cut(payloads: list[bytes], places: list[int]):
    whole = b"".join(map(sse.frame, payloads))
    assert read(*cut(whole, places)) == payloads


@given(PAYLOADS, st.lists(st.integers(0), max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_every_line_end_of_the_standard_is_read(
    payloads: list[bytes], places: list[int], end: bytes
):
    whole = b"".join(
        b": a comment" + end + b"event: x" + end + b"data:" + payload + end + b"id: 1" + end + end
        for payload in (b" " + payload for payload in payloads)
    )
    # A last CR could still be half of CRLF, so the reader waits for what comes next.
    assert read(*cut(whole + b": end" + end, places)) == payloads


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:\n\n", [b""]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b": keep-alive\n\n", []),
        (b"event: ping\n\n", []),
        (b"database: a\n\n", []),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"data: \xf0\x9f\n\n", [b"\xf0\x9f"]),
    ],
    ids=repr,
)
def test_events(sent: bytes, expected: list[bytes]):
    assert read(sent) == expected


def test_an_event_that_does_not_end_is_an_error():
    whole = sse.EventReader()
    with pytest.raises(sse.EventTooLargeError):
        list(whole.feed(b"x" * (sse.MAX_EVENT_BYTES + 1)))
    in_lines = sse.EventReader()
    for _ in range(sse.MAX_EVENT_BYTES // 2**20 - 1):
        assert list(in_lines.feed(b"data: " + b"x" * 2**20 + b"\n")) == []
    with pytest.raises(sse.EventTooLargeError):
        list(in_lines.feed(b"data: " + b"x" * 2**20 + b"\n"))


def test_many_events_may_be_larger_together():
    reader = sse.EventReader()
    piece = sse.frame(b"x" * 1024 * 1024)
    assert sum(len(list(reader.feed(piece))) for _ in range(40)) == 40
