"""Grammars for xgrammar, which holds the answers of the `openvino` engine.

Its own reading of JSON Schema is not used. Seen in openvino-genai 2026.4: a `maxLength` of 1000
takes 2 s to compile and then 0.7 s per step, for everybody in the batch; white space between
members has no bound; keywords that it does not know are passed over; and a schema that it refuses
makes a step fail, after which the pipeline is unusable. Both engines decode under the same grammar
instead. Only long repetitions are written differently here: xgrammar unrolls those of characters
(of 64 in 2 s), and where it does not, it tries every token against every count (with 250 in 0.8 s
per step). In blocks of rules, a schema compiles in 0.03 to 0.12 s of processor time, and a step of
15 ms takes 31 ms inside a text that has a bound, and 15 inside one that has none.
"""

import re
from typing import Any

from zaffre.core.errors import Location
from zaffre.engines.text.grammar import write_grammar

LONGEST_REPETITION = 32
_LEADING_SPACE = ('root ::= " "?', r"root ::= [ \n]?")
"""What `write_grammar` lets an answer begin with, and what may stand between a mark and a call."""
_FEED = r'"\n"?'

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<literal>"(?:[^"\\]|\\.)*")
    | (?P<set>\[(?:[^\]\\]|\\.)*\])
    | (?P<name>[A-Za-z][A-Za-z0-9-]*)
    | (?P<count>\{(?P<low>\d+)(?P<comma>,?)(?P<high>\d*)\})
    | (?P<open>\() | (?P<close>\)) | (?P<sign>[|?*+])""",
    re.VERBOSE,
)


def grammar_of(schema: dict[str, Any], location: Location, *, sentencepiece: bool = False) -> str:
    """The grammar of the JSON texts that satisfy `schema`, which has passed `check_schema`.

    For a vocabulary of SentencePiece's kind, if so told. Raises `UnsupportedParameter` at
    `location` when an answer cannot be held to it.
    """
    return for_xgrammar(write_grammar(schema, location), sentencepiece=sentencepiece)


def call_grammar_of(schema: dict[str, Any], location: Location) -> str:
    """The same for one tool call inside its marks, where a line feed may stand on either side."""
    root, rest = write_grammar(schema, location).split("\n", 1)
    return for_xgrammar(f"{root.replace(*_LEADING_SPACE)} {_FEED}\n{rest}")


def for_xgrammar(grammar: str, *, sentencepiece: bool = False) -> str:
    """The same grammar, with its repetitions as xgrammar likes them."""
    rules = _SentencePieceRules() if sentencepiece else _Rules()
    lines = []
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        lines.append(f"{name} ::= {rules.rewrite(body)}")
    return "\n".join([*lines, *rules.lines()]) + "\n"


class _Rules:
    """Collects the rules that are added to a grammar; equal ones become one."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def lines(self) -> list[str]:
        """The rules added."""
        return [f"{name} ::= {body}" for body, name in self._names.items()]

    def terminal(self, text: str) -> str:
        """A literal or a set, as it is to be written."""
        return text

    def rewrite(self, body: str) -> str:
        """The body of a rule, its repetitions replaced."""
        done: list[str] = []
        opened: list[int] = []
        atom = 0
        for token in _TOKEN.finditer(body):
            match token.lastgroup:
                case "open":
                    opened.append(len(done))
                case "close":
                    atom = opened.pop()
                case "literal" | "set" | "name":
                    atom = len(done)
                case _:
                    pass
            if token["count"] is None:
                done.append(
                    self.terminal(token[0]) if token["literal"] or token["set"] else token[0]
                )
                continue
            low = int(token["low"])
            high = int(token["high"]) if token["high"] else (None if token["comma"] else low)
            done[atom:] = [self._repeated("".join(done[atom:]), low, high)]
        return "".join(done)

    def _repeated(self, item: str, low: int, high: int | None) -> str:
        """`item`, from `low` to `high` times."""
        if (low if high is None else high) <= LONGEST_REPETITION:
            return f"{item}{{{low},{'' if high is None else high}}}"
        item = self._rule(item)
        if high is None:
            return f"({self._exactly(item, low)} {item}*)" if low else f"{item}*"
        if low == high:
            return self._exactly(item, low)
        return f"({self._exactly(item, low)} {self._up_to(item, high - low)})"

    def _exactly(self, item: str, count: int) -> str:
        blocks, rest = divmod(count, LONGEST_REPETITION)
        parts = [self._block(item)] * blocks if blocks else []
        parts += [f"{item}{{{rest}}}"] * bool(rest)
        return f"({' '.join(parts)})" if parts else '""'

    def _up_to(self, item: str, count: int) -> str:
        """Whole blocks first, then less than one: there is one way only to read a text."""
        blocks, rest = divmod(count, LONGEST_REPETITION)
        few = f"{item}{{0,{LONGEST_REPETITION - 1}}}"
        tail = f"{item}{{0,{rest}}}"
        for _ in range(blocks):
            tail = self._rule(f"{self._block(item)} {tail} | {few}")
        return tail

    def _block(self, item: str) -> str:
        return self._rule(f"{item}{{{LONGEST_REPETITION}}}")

    def _rule(self, body: str) -> str:
        return self._names.setdefault(body, f"x{len(self._names)}")


_CHARACTER = re.compile(r"\\U(?P<code>[0-9A-Fa-f]{8})|\\(?P<escaped>.)|(?P<plain>.)", re.DOTALL)
_BLANK, _LESS, _PIECE_BLANK = 0x20, 0x3C, 0x2581
_BYTE = "utf8byte"
_WIDE = "utf8wide"
_WIDE_RULES = (
    f'{_BYTE} ::= "<0x" [89AB] [0-9A-F] ">"',
    f'{_WIDE} ::= "<0x" ("C" [2-9A-F] | "D" [0-9A-F]) ">" {_BYTE}'
    f' | "<0xE0><0x" [AB] [0-9A-F] ">" {_BYTE}'
    f' | "<0xE" [1-9ABCEF] ">" {_BYTE} {_BYTE}'
    f' | "<0xED><0x" [89] [0-9A-F] ">" {_BYTE}'
    f' | "<0xF0><0x" [9AB] [0-9A-F] ">" {_BYTE} {_BYTE}'
    f' | "<0xF" [1-3] ">" {_BYTE} {_BYTE} {_BYTE}'
    f' | "<0xF4><0x8" [0-9A-F] ">" {_BYTE} {_BYTE}',
)
"""A character without a token of its own, as the tokens of its bytes: all that UTF-8 has."""


class _SentencePieceRules(_Rules):
    """Rules over the names of SentencePiece's tokens, which is what xgrammar sees of them.

    There a blank is U+2581, and a byte of a character without a token is `<0xE2>`. Tokens of bytes
    below 128 are not used, nor is `<` inside a set: they could be control characters.
    """

    def lines(self) -> list[str]:
        """The rules added."""
        return [*super().lines(), *_WIDE_RULES]

    def terminal(self, text: str) -> str:
        """A literal or a set, as the tokens are named."""
        characters = [_code(found) for found in _CHARACTER.finditer(text[1:-1])]
        return self._set(characters) if text[0] == "[" else self._literal(characters)

    def _literal(self, characters: list[tuple[int, bool]]) -> str:
        parts = []
        for code, _ in characters:
            if code == _BLANK:
                parts.append(_quoted(_PIECE_BLANK))
            elif code < 0x80:
                parts.append(_quoted(code))
            else:
                named = "".join(f"<0x{byte:02X}>" for byte in chr(code).encode())
                parts.append(f'({_quoted(code)} | "{named}")')
        return f"({' '.join(parts)})" if parts else '""'

    def _set(self, characters: list[tuple[int, bool]]) -> str:
        ranges = _ranges(characters)
        if ranges == [(_LESS, _LESS)]:
            return '"<"'
        kept = [part for low, high in ranges for part in _without(low, high, (_BLANK, _LESS))]
        if any(low <= _BLANK <= high for low, high in ranges):
            kept.append((_PIECE_BLANK, _PIECE_BLANK))
        inside = "".join(f"\\U{low:08X}-\\U{high:08X}" for low, high in sorted(kept))
        wide = any(low <= 0x80 and high >= 0xD7FF for low, high in ranges)
        return f"([{inside}] | {_WIDE})" if wide else f"[{inside}]"


def _code(found: re.Match[str]) -> tuple[int, bool]:
    """A character of a literal or a set, and whether it stands there as itself."""
    if found["code"]:
        return int(found["code"], 16), False
    if found["escaped"]:
        return ord({"n": "\n", "t": "\t", "r": "\r"}.get(found["escaped"], found["escaped"])), False
    return ord(found["plain"]), True


def _ranges(characters: list[tuple[int, bool]]) -> list[tuple[int, int]]:
    """The ranges of a set, `a-z` and single characters."""
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < len(characters):
        code = characters[at][0]
        if at + 2 < len(characters) and characters[at + 1] == (ord("-"), True):
            ranges.append((code, characters[at + 2][0]))
            at += 3
        else:
            ranges.append((code, code))
            at += 1
    return ranges


def _without(low: int, high: int, holes: tuple[int, ...]) -> list[tuple[int, int]]:
    """A range without some of its characters."""
    parts = []
    for hole in sorted(holes):
        if low <= hole <= high:
            if low < hole:
                parts.append((low, hole - 1))
            low = hole + 1
    return [*parts, (low, high)] if low <= high else parts


def _quoted(code: int) -> str:
    return f'"\\U{code:08X}"'
