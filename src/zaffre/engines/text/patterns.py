"""Texts inside JSON strings, as GBNF: sets of characters, and the regular expressions of `pattern`.

In a JSON string a quote, a backslash and control characters are escaped; so an expression about the
characters of a value has to be turned into one about the characters that are written.
"""

from collections.abc import Iterable

MAX_REPEATS = 1000
"""The largest count in a pattern: each becomes a rule of the grammar."""

Ranges = tuple[tuple[int, int], ...]
"""Code points, as inclusive ranges."""

_LAST = 0x10FFFF
_ESCAPES = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACES: Ranges = ((9, 10), (12, 13), (32, 32))
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACES}
_CONTROLS = {"t": 9, "n": 10, "f": 12, "r": 13}


def _code(code: int) -> str:
    return f"\\U{code:08X}"


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All other code points."""
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        gaps.append((start, _LAST))
    return tuple(gaps)


_PLAIN = complement(((0, 31), (34, 34), (92, 92), (127, 127), (0xD800, 0xDFFF)))
"""What stands for itself in a JSON string."""


def characters(ranges: Iterable[tuple[int, int]]) -> str:
    """One character of `ranges`, as it is written in a JSON string."""
    ranges = tuple(ranges)
    plain = [
        (max(low, plain_low), min(high, plain_high))
        for low, high in ranges
        for plain_low, plain_high in _PLAIN
        if max(low, plain_low) <= min(high, plain_high)
    ]
    escaped = "".join(
        _code(ord(letter))
        for code, letter in _ESCAPES.items()
        if any(low <= code <= high for low, high in ranges)
    )
    parts = []
    if plain:
        parts.append(
            "[" + "".join(f"{_code(low)}-{_code(high)}" for low, high in sorted(plain)) + "]"
        )
    if escaped:
        parts.append(f'"\\\\" [{escaped}]')
    if not parts:
        raise UnknownPatternError("characters that JSON writes in no short way")
    return f"({' | '.join(parts)})"


ANY_CHARACTER = characters(((0, _LAST),))


def literal(text: str) -> str:
    """Exactly `text`, outside of any string."""
    return '"' + "".join(c if c.isalnum() or c in " _{}[]:," else _code(ord(c)) for c in text) + '"'


class UnknownPatternError(Exception):
    """A regular expression that has no grammar; the text says why."""


def pattern(expression: str) -> str:
    """What matches `expression` somewhere, or as a whole where `^` and `$` say so.

    Raises `UnknownPatternError` for look-around, references and anything else that is not regular.
    """
    reader = _Reader(expression)
    starts = reader.take("^")
    body = reader.alternatives(top=True)
    before = "" if starts else f"{ANY_CHARACTER}* "
    after = "" if reader.ends else f" {ANY_CHARACTER}*"
    if reader.split and (starts or reader.ends):
        # There each anchor belongs to one of them.
        raise UnknownPatternError("alternatives with '^' or '$' on some of them")
    return f"{before}({body}){after}"


class _Reader:
    """A recursive descent through a regular expression."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self.ends = False
        self.split = False

    def take(self, expected: str) -> bool:
        """Step over `expected`, if it is next."""
        found = self._text.startswith(expected, self._at)
        self._at += len(expected) if found else 0
        return found

    def alternatives(self, *, top: bool = False) -> str:
        """Sequences with bars between them."""
        self._depth += 1
        if self._depth > 32:
            raise UnknownPatternError("it is nested too deeply")
        parts = [self._sequence(top=top)]
        while self.take("|"):
            if top:
                self.split = True
            parts.append(self._sequence(top=top))
        if top and self._at < len(self._text):
            raise UnknownPatternError("a parenthesis closes nothing")
        self._depth -= 1
        return " | ".join(parts)

    def _sequence(self, *, top: bool) -> str:
        parts: list[str] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            if top and self._text[self._at :] == "$":
                self._at += 1
                self.ends = True
                break
            parts.append(self._repeated(self._atom()))
        return " ".join(parts) or '""'

    def _atom(self) -> str:
        char = self._text[self._at]
        if char in "^$*+?{":
            raise UnknownPatternError(f"'{char}' stands where it means nothing")
        self._at += 1
        if char == "(":
            if self.take("?") and not self.take(":"):
                raise UnknownPatternError("look-around and named groups")
            inner = self.alternatives()
            if not self.take(")"):
                raise UnknownPatternError("a parenthesis is not closed")
            return f"({inner})"
        if char == ".":
            return characters(complement(((10, 10), (13, 13))))
        if char == "[":
            return characters(self._set())
        if char == "\\":
            return characters(self._escape())
        return characters(((ord(char), ord(char)),))

    def _repeated(self, atom: str) -> str:
        for sign in "*+?":
            if self.take(sign):
                self.take("?")
                return f"{atom}{sign}"
        if not self.take("{"):
            return atom
        counts, closed, rest = self._text[self._at :].partition("}")
        low, comma, high = counts.partition(",")
        if not closed or not low.isdecimal() or (high and not high.isdecimal()):
            raise UnknownPatternError("a count that is none")
        if max(int(low), int(high or 0)) > MAX_REPEATS:
            raise UnknownPatternError(f"more than {MAX_REPEATS} repetitions")
        self._at = len(self._text) - len(rest)
        self.take("?")
        return f"{atom}{{{int(low)}{',' if comma else ''}{int(high) if high else ''}}}"

    def _escape(self) -> Ranges:
        if self._at == len(self._text):
            raise UnknownPatternError("it ends with a backslash")
        char = self._text[self._at]
        self._at += 1
        if char.lower() in _CLASSES:
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else complement(ranges)
        if char in {"u", "x"}:
            length = 4 if char == "u" else 2
            digits = self._text[self._at : self._at + length]
            if len(digits) < length or not all(c in "0123456789abcdefABCDEF" for c in digits):
                raise UnknownPatternError(f"the escape \\{char}{digits}")
            self._at += length
            return ((int(digits, 16), int(digits, 16)),)
        if char.isalnum() and char not in _CONTROLS:
            raise UnknownPatternError(f"the escape \\{char}")
        code = _CONTROLS.get(char, ord(char))
        return ((code, code),)

    def _set(self) -> Ranges:
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        while not self.take("]"):
            found = self._set_item()
            sign, after = self._text[self._at : self._at + 1], self._text[self._at + 1 :][:1]
            if len(found) == 1 and sign == "-" and after not in {"]", ""}:
                self._at += 1
                found = ((found[0][0], self._set_item()[-1][1]),)
            ranges.extend(found)
        if not ranges:
            raise UnknownPatternError("an empty bracket")
        return complement(ranges) if negated else tuple(ranges)

    def _set_item(self) -> Ranges:
        if self._at >= len(self._text):
            raise UnknownPatternError("a bracket is not closed")
        char = self._text[self._at]
        self._at += 1
        return self._escape() if char == "\\" else ((ord(char), ord(char)),)
