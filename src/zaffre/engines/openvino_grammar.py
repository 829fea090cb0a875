"""Grammars for xgrammar, which holds the answers of the `openvino` engine.

Its own reading of JSON Schema is not used. Seen in openvino-genai 2026.4: a `maxLength` of 1000
takes 0.75 s per step for everybody in the batch, white space between members has no bound, keywords
that it does not know are passed over, and a schema it refuses makes a step fail, after which the
pipeline is unusable. The grammar that llama.cpp gets says the same and can be read by both; only
its long repetitions are cut into blocks, because xgrammar tries every token against every count.
"""

import re
from typing import Any

from zaffre.core.errors import Location
from zaffre.engines.llama_grammar import write_grammar

LONGEST_REPETITION = 64
"""Seen: up to 128 a step costs a few ms more than without a bound, with 250 it costs 0.8 s."""

_REPETITION = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\b(r\d+)\{(\d+)(,?)(\d*)\}')
"""Literals and sets, which are left as they are, or a rule with its counts."""


def grammar_of(schema: dict[str, Any], location: Location) -> str:
    """The grammar of the JSON texts that satisfy `schema`, which has passed `check_schema`.

    Raises `UnsupportedParameter` at `location` when an answer cannot be held to it.
    """
    return in_blocks(write_grammar(schema, location))


def in_blocks(grammar: str) -> str:
    """The same grammar, without repetitions longer than `LONGEST_REPETITION`."""
    blocks: dict[str, str] = {}

    def cut(found: re.Match[str]) -> str:
        rule, low, comma, high = found.groups()
        if rule is None:
            return found[0]
        most = int(high) if high else (None if comma else int(low))
        return _repeated(rule, int(low), most, blocks)

    lines = _REPETITION.sub(cut, grammar).rstrip("\n")
    return "\n".join([lines, *(f"{name} ::= {body}" for name, body in blocks.items())]) + "\n"


def _repeated(rule: str, low: int, high: int | None, blocks: dict[str, str]) -> str:
    """`rule`, from `low` to `high` times, with whole blocks as rules of their own."""
    size = LONGEST_REPETITION
    if (high or low) <= size:
        return f"{rule}{{{low},{'' if high is None else high}}}"
    block = f"{rule}x{size}"
    blocks[block] = f"{rule}{{{size}}}"
    always, rest = divmod(low, size)
    fixed = " ".join([block] * always + ([f"{rule}{{{rest}}}"] if rest else []))
    if high is None:
        return f"({fixed} {rule}*)"
    # Whole blocks first, then less than one: there is one way only to read a text.
    whole, last = divmod(high - low, size)
    name = f"{rule}to{high - low}"
    tail = f"{rule}{{0,{last}}}" if last else '""'
    for number in range(1, whole + 1):
        blocks[f"{name}n{number}"] = f"{block} {tail} | {rule}{{0,{size - 1}}}"
        tail = f"{name}n{number}"
    return f"({fixed} {tail})" if fixed else tail
