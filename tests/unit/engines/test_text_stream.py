"""Text that arrives in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.engines.text.text_stream import CharacterStream, StopText


def _pieces(content: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return [*pieces, content[at:]]


def _through(text: str, stops: list[str], sizes: list[int]) -> str:
    stop, at, said = StopText(stops), 0, ""
    for size in [*sizes, len(text)]:
        said += stop.push(text[at : at + size])
        at += size
    return said + stop.close()


@given(st.text(), st.lists(st.integers(1, 3)))
def test_bytes_cut_anywhere_become_the_text_again(text: str, sizes: list[int]):
    """Given a text's bytes in pieces, when they are pushed, then the pieces add up to the text."""
    stream = CharacterStream()
    said = [stream.push(piece) for piece in _pieces(text.encode(), sizes)]
    assert "".join(said) == text


def test_half_a_character_waits_and_is_dropped_at_the_end():
    """Given the first bytes of an emoji, when nothing follows, then nothing of it is said."""
    stream = CharacterStream()
    assert stream.push("ok 😀".encode()[:-1]) == "ok "


def test_bytes_that_are_no_text_are_marked():
    """Given a byte that UTF-8 does not have, when text follows, then U+FFFD stands for it."""
    assert CharacterStream().push(b"a\xffb") == "a\ufffdb"


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_the_stop_that_is_complete_first_ends_the_text(text: str, stops: list[str]):
    """Given stop texts, when the text comes in single characters or whole, the cut is the same."""
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    assert _through(text, stops, [1] * len(text)) == expected
    assert _through(text, stops, []) == expected


def test_what_may_become_a_stop_is_held_back():
    """Given the beginning of a stop text, when it does not go on so, then it is said after all."""
    stop = StopText(["END"])
    assert stop.push("the E") == "the "
    assert stop.push("N") == ""
    assert stop.push("T") == "ENT"
    assert not stop.hit


@pytest.mark.parametrize("later", ["more", "END"])
def test_nothing_comes_after_the_stop(later: str):
    """Given a text that was ended, when more comes, then it is ignored."""
    stop = StopText(["END"])
    assert stop.push("a END b") == "a "
    assert stop.hit
    assert stop.push(later) + stop.close() == ""
