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
from zaffre.engines.llama_grammar import write_grammar

LONGEST_REPETITION = 32

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<literal>"(?:[^"\\]|\\.)*")
    | (?P<set>\[(?:[^\]\\]|\\.)*\])
    | (?P<name>[A-Za-z][A-Za-z0-9-]*)
    | (?P<count>\{(?P<low>\d+)(?P<comma>,?)(?P<high>\d*)\})
    | (?P<open>\() | (?P<close>\)) | (?P<sign>[|?*+])""",
    re.VERBOSE,
)


def grammar_of(schema: dict[str, Any], location: Location) -> str:
    """The grammar of the JSON texts that satisfy `schema`, which has passed `check_schema`.

    Raises `UnsupportedParameter` at `location` when an answer cannot be held to it.
    """
    return for_xgrammar(write_grammar(schema, location))


def for_xgrammar(grammar: str) -> str:
    """The same grammar, with its repetitions as xgrammar likes them."""
    rules = _Rules()
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
                done.append(token[0])
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
