"""Grammars as xgrammar likes them: they allow what they allowed before."""

import re

import pytest

from zaffre.core.errors import UnsupportedParameter
from zaffre.engines.openvino.grammar import LONGEST_REPETITION, for_xgrammar, grammar_of
from zaffre.engines.text.schemas import RESPONSE_SCHEMA

TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\[[^\]]*\])|([a-z]\w*)|(\s+)|(.)')


def _expression(grammar: str) -> re.Pattern[str]:
    """A grammar without recursion as one regular expression."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.splitlines())

    def expand(body: str) -> str:
        parts = []
        for literal, characters, name, _, other in TOKENS.findall(body):
            if name:
                parts.append(f"(?:{expand(rules[name])})")
            else:
                parts.append(re.escape(_plain(literal)) or characters or other)
        return "".join(parts)

    return re.compile(expand(rules["root"]))


def _plain(literal: str) -> str:
    """A literal without its escapes."""
    named = re.sub(r"\\U([0-9A-F]{8})", lambda found: chr(int(found[1], 16)), literal)
    return re.sub(r"\\([\"\\])", r"\1", named)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ("{0,3}", 0, 3),
        ("{2}", 2, 2),
        ("{0,31}", 0, 31),
        ("{0,32}", 0, 32),
        ("{5,40}", 5, 40),
        ("{32}", 32, 32),
        ("{33,100}", 33, 100),
        ("{0,1500}", 0, 1500),
        ("{40,}", 40, 10**9),
        ("{0,}", 0, 10**9),
    ],
)
@pytest.mark.parametrize("item", ["[a-c]", '"a"', "r1", '("a" | r1)'])
def test_lengths_stay_what_they_were(item: str, counts: str, low: int, high: int):
    """Given a repetition, when it is written in blocks, then the same lengths match."""
    expression = _expression(for_xgrammar(f"root ::= {item}{counts}\nr1 ::= [ab]\n"))
    edges = {0, 1, 2, 3, low - 1, low, low + 1, high - 1, high, high + 1, 31, 32, 33, 64, 65, 100}
    for length in sorted(n for n in edges if 0 <= n <= 2000):
        assert bool(expression.fullmatch("a" * length)) == (low <= length <= high), length


def test_no_repetition_is_long():
    """Given schemas with long bounds, when they become grammars, then all counts are small."""
    text = {"type": "string", "minLength": 300, "maxLength": 9000}
    schema = {"type": "array", "items": text, "maxItems": 500}
    counts = re.findall(r"\{(\d+),?(\d*)\}", grammar_of(schema, RESPONSE_SCHEMA))
    assert max(int(high or low) for low, high in counts) == LONGEST_REPETITION


def test_what_looks_like_a_repetition_in_a_text_is_none():
    """Given a name with braces, when the grammar is rewritten, then the name stays as it is."""
    line = 'root ::= "r1{2,999}" [a{1,2}] r1\nr1 ::= "x"\n'
    assert for_xgrammar(line) == line


def test_what_cannot_be_held_to_is_refused():
    """Given a keyword without a grammar, when an answer shall be held to it, then it is named."""
    with pytest.raises(UnsupportedParameter, match="uniqueItems") as refusal:
        grammar_of({"type": "array", "uniqueItems": True}, RESPONSE_SCHEMA)
    assert refusal.value.location == RESPONSE_SCHEMA


# --- SentencePiece -----------------------------------------------------------------------------


def test_bytes_are_those_of_characters():
    """Given bytes at the edges of UTF-8, when they are spelled, then only whole characters fit."""
    body = r"[\U00000020-\U0010FFFF]"
    expression = _expression(for_xgrammar(f"root ::= {body}\n", sentencepiece=True))
    edges = ("\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff")
    spelled = ["".join(f"<0x{byte:02X}>" for byte in edge.encode()) for edge in edges]
    assert [text for text in spelled if not expression.fullmatch(text)] == []
    broken = ("C180", "E09F80", "EDA080", "F08F8080", "F4908080", "80", "C3", "FF")
    named = ["".join(f"<0x{byte:02X}>" for byte in bytes.fromhex(digits)) for digits in broken]
    assert [text for text in named if expression.fullmatch(text)] == []


@pytest.mark.parametrize(
    ("body", "fits", "does_not"),
    [
        ('"a b"', ["a▁b"], ["a b"]),
        ('"한"', ["한", "<0xED><0x95><0x9C>"], ["<0xED>"]),
        (r'"\"\\"', ['"\\'], []),
        ("[ a]", ["▁", "a"], [" "]),
        ("[0-9]", ["7"], ["<0x37>", "a"]),
        ("[<]", ["<"], ["<0x3C>"]),
        (r"[\U00000020-\U0010FFFF]", ["a", "▁", "한", "<0xC3><0xA9>"], ["<", "<0x0A>", "<0xC3>"]),
        (r"[\U0000AC00-\U0000D7A3]{2}", ["한국"], ["<0xED><0x95><0x9C>", "ab"]),
    ],
)
def test_tokens_are_named_as_sentencepiece_does(body: str, fits: list[str], does_not: list[str]):
    """Given literals and sets, when SentencePiece names the tokens, then they are spelled so."""
    expression = _expression(for_xgrammar(f"root ::= {body}\n", sentencepiece=True))
    assert [text for text in fits if not expression.fullmatch(text)] == []
    assert [text for text in does_not if expression.fullmatch(text)] == []
