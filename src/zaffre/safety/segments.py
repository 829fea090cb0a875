"""Where texts are cut: into pieces that a classifier can judge, and into windows as they grow."""

import re
import unicodedata
from collections.abc import Iterator

from zaffre.safety.folding import fold

MIN_WINDOW = 40
"""Characters; a shorter sentence is judged with the next one."""
WINDOW = 160
"""Characters after which any white space ends a window."""
MAX_WINDOW = 480
"""Characters after which a window ends within a word: nothing that long is one."""
SEGMENT = 80
"""Characters up to which sentences are judged together: among harmless ones, a bad one is lost."""
MAX_SEGMENT = 250
"""Characters of one sentence that are judged together: with two more tokens they fit into the 256
of the classifier's model, even at one token per character."""
PORTION_OVERLAP = 200
MAX_RUN = 80
"""Characters without white space; the model's tokenizer has no token for longer ones."""

_STOPS = ".!?…"
_JOINED_STOPS = "。！？"
"""Ends of sentences in scripts that put no space after them."""
_SENTENCE = re.compile(r"[^.!?…。！？\n]*(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|[。！？\n]|[.!?…]+|$)\s*")
_RUN = re.compile(rf"\S{{{MAX_RUN}}}(?=\S)")


def next_cut(text: str, start: int, scanned: int) -> int | None:
    """The end of the window of `text` that begins at `start`, or None while it is not there yet.

    `scanned`: the end that was asked about before. The answer depends on the text alone, never on
    the pieces in which it arrives.
    """
    last = min(len(text), start + MAX_WINDOW)
    for end in range(max(scanned, start + MIN_WINDOW - 1) + 1, last + 1):
        final, before = text[end - 1], text[end - 2 : end - 1]
        if final in _JOINED_STOPS or final == "\n":
            return end
        if final.isspace() and (end - start >= WINDOW or before in _STOPS):
            return end
    return last if last - start == MAX_WINDOW else None


def context_start(text: str, end: int, size: int) -> int:
    """Where the words begin of which `text[:end]` has at least `size` characters at its end."""
    start = max(0, end - size)
    while start > 0 and not text[start - 1].isspace() and end - start < size + MAX_WINDOW:
        start -= 1
    return start


def segments(text: str) -> list[str]:
    """`text`, folded, as pieces of whole sentences: of at most `SEGMENT` characters where that can
    be, and of `MAX_SEGMENT` always, accents counted as characters.
    """
    pieces: list[str] = []
    piece = ""
    for sentence in _sentences(text):
        if piece and len(piece) + len(sentence) > SEGMENT:
            pieces.append(piece)
            piece = ""
        piece = f"{piece} {sentence}" if piece else sentence
    return [*pieces, piece] if piece else pieces


def _sentences(text: str) -> Iterator[str]:
    for line in text.splitlines():
        # In NFD, as the model's tokenizer has it: no token is shorter than one of its characters.
        folded = unicodedata.normalize("NFD", fold(line))
        for match in _SENTENCE.finditer(_RUN.sub(r"\g<0> ", folded)):
            yield from _bounded(match.group().strip())


def _bounded(sentence: str) -> Iterator[str]:
    """`sentence` in pieces of at most `MAX_SEGMENT` characters, cut at spaces."""
    while len(sentence) > MAX_SEGMENT:
        cut = sentence.rfind(" ", 0, MAX_SEGMENT) + 1 or MAX_SEGMENT
        yield sentence[:cut].strip()
        sentence = sentence[cut:]
    if sentence:
        yield sentence


def portions(text: str, size: int) -> list[str]:
    """`text` in portions of at most `size` characters that overlap by `PORTION_OVERLAP`."""
    step = size - PORTION_OVERLAP
    starts = range(0, max(1, len(text) - PORTION_OVERLAP), step)
    return [text[start : start + size] for start in starts]
