"""Folding: many spellings that look alike become one, before words are looked for."""

import re
import unicodedata

_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
"""Those of ASCII that show nothing and are no white space."""
_OVERLAYS = range(0x0300, 0x0370)
"""Accents and strokes that NFKC could not join to a letter: no orthography of Latin needs them."""
_SYMBOL_MARKS = range(0x20D0, 0x2100)
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5")
"""Letters and joiners that show nothing, by character although their category says otherwise."""
_VARIATIONS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_LOOKALIKES = str.maketrans(
    "авекмнорстухіјѕԁԛԝαεικνορτυχ",
    "abekmhopctyxijsdqwaeikvoptux",
)
"""Cyrillic and Greek letters that look like Latin ones."""
_LOOKALIKE_CODES = frozenset(_LOOKALIKES)
_LATIN = re.compile(r"[a-z]")


def fold(text: str) -> str:
    """`text` in one spelling: NFKC, without case, invisible characters and overlaid marks, white
    space as single spaces and none at the ends, and Cyrillic or Greek letters inside a Latin word
    as the Latin ones that they look like.
    """
    if text.isascii():
        shown = _CONTROLS.sub("", text) if _CONTROLS.search(text) else text
        return " ".join(shown.split()).lower()
    # Twice, because a character may fold to one that NFKC changes again.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    hidden = dict.fromkeys(ord(character) for character in set(text) if _hidden(character))
    shown = " ".join((text.translate(hidden) if hidden else text).split())
    if _LOOKALIKE_CODES.isdisjoint(map(ord, shown)):
        return shown
    return " ".join(_latin(word) for word in shown.split(" "))


def _hidden(character: str) -> bool:
    code = ord(character)
    if code < 0x80:
        return _CONTROLS.match(character) is not None
    return (
        unicodedata.category(character) in ("Cf", "Cc")
        or code in _OVERLAYS
        or code in _SYMBOL_MARKS
        or character in _INVISIBLE_LETTERS
        or any(code in span for span in _VARIATIONS)
    )


def _latin(word: str) -> str:
    return word.translate(_LOOKALIKES) if _LATIN.search(word) else word
