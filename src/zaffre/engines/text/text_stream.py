"""Text that arrives in pieces: whole characters out of bytes, and ends before stop texts."""

from codecs import getincrementaldecoder
from collections.abc import Sequence

_UTF8_DECODER = getincrementaldecoder("utf-8")


class CharacterStream:
    """Turns the bytes of tokens into text, a character only when all its bytes are there.

    Bytes that cannot be UTF-8 (a model may draw any) become U+FFFD. Bytes of a character that is
    still incomplete when the generation ends are dropped: they mean nothing to a reader.
    """

    def __init__(self) -> None:
        self._decoder = _UTF8_DECODER(errors="replace")

    def push(self, content: bytes) -> str:
        """The text that is complete now that `content` has come."""
        return self._decoder.decode(content)


class StopText:
    """Ends a text before the first of several stop texts, which may be split across pieces.

    Of two stop texts the one that is complete first ends the text, so that the result does not
    depend on how the text was cut into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.hit = False
        """Whether a stop text was found; everything pushed afterwards is ignored."""

    def push(self, text: str) -> str:
        """The part of the text so far, not yet given out, that no stop text can claim any more."""
        if self.hit:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.hit, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def close(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a true beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
