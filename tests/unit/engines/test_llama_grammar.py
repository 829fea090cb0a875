"""A grammar written for a schema has no text that the schema does not allow."""

import json
import re
from decimal import Decimal
from random import Random
from typing import Any

import jsonschema
import pytest
from gbnf import Grammar
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.core.errors import UnsupportedParameter
from zaffre.engines.text.grammar import write_grammar
from zaffre.engines.text.numbers import integers, numbers, read_interval
from zaffre.engines.text.patterns import UnknownPatternError, pattern
from zaffre.engines.text.schemas import ANY_OBJECT, check_schema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "tags": {"type": "array", "items": {"enum": ["a", "ab", "b"]}, "maxItems": 3},
        "mail": {"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
    },
    "required": ["name", "score"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}
FORMATS = jsonschema.FormatChecker(["date", "date-time", "uuid"])
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "tree": TREE,
    "anything": {},
    "any object": ANY_OBJECT,
    "object": {"type": "object"},
    "empty object": {"type": "object", "additionalProperties": False},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    "map of short": {"type": "object", "propertyNames": {"maxLength": 3}, "maxProperties": 2},
    "required only": {"type": "object", "required": ["x", "y"]},
    "optional": {"properties": {"a": {"type": "null"}, "b": {"type": "null"}}},
    "types": {"type": ["string", "integer", "boolean", "null"]},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4},
    "no items": {"type": "array", "maxItems": 0},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    "const": {"const": {"a": [1, "é\n", None]}},
    "enum": {"enum": ["a", 'b"c', 1, 1.5, None, True, ["x"], {"k": "v"}]},
    "long enum": {"enum": [f"item {number:03}" for number in range(500)]},
    "nested enum": {"enum": ["a" * length for length in range(1, 200)]},
    "all of": {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ],
        "type": "object",
    },
    "one of": {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]},
    "any of with type": {
        "type": "object",
        "anyOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ],
    },
    "date": {"type": "string", "format": "date"},
    "date-time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3}(\.[a-f0-9]+)?$"},
    "long text": {"type": "string", "minLength": 1, "maxLength": 4000},
    "odd names": {"properties": {'a"b': {"type": "null"}, "한": {"type": "null"}, "": True}},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_texts_of_a_grammar_satisfy_its_schema(name: str):
    """Given a schema, when texts are drawn from its grammar, then the schema allows each."""
    schema = SCHEMAS[name]
    check_schema(schema, ())
    grammar = Grammar(write_grammar(schema, ()))
    check = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    random = Random(7)  # noqa: S311 - not a secret
    for _ in range(100):
        text = grammar.draw(random)
        check.validate(json.loads(text))
        assert grammar.matches(text)


def test_a_grammar_has_the_texts_that_one_would_write():
    """Given a schema, when values are written in the usual way, then its grammar has them."""
    grammar = Grammar(write_grammar(PERSON, ()))
    for value in (
        {"name": "Ann", "age": 30, "score": 0.5, "tags": ["a", "b"], "mail": None},
        {"name": 'O"Neil\n한', "score": 1},
        {"name": "x", "age": 0, "score": 0, "mail": "ann@example.org"},
    ):
        assert grammar.matches(json.dumps(value, ensure_ascii=False)), value
    assert not grammar.matches('{"name": "Ann"}')
    assert not grammar.matches('{"name": "Ann", "score": 2}')
    assert not grammar.matches('{"name": "Ann", "score": 1, "more": 1}')


def test_equal_schemas_share_their_rules():
    """Given a thousand equal alternatives, when they are written, then they are one."""
    alternatives = [{"type": "array", "items": {"type": "integer"}} for _ in range(1000)]
    assert len(write_grammar({"anyOf": alternatives}, ()).splitlines()) < 10


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "not": ({"not": {"type": "string"}}, "#/not"),
    "if": ({"properties": {"a": {"if": {}, "then": {}}}}, "#/properties/a/if"),
    "unique": ({"type": "array", "uniqueItems": True}, "#/uniqueItems"),
    "multiple": ({"type": "integer", "multipleOf": 3}, "#/multipleOf"),
    "false": ({"properties": {"a": False}, "required": ["a"]}, "allows nothing"),
    "missing": ({"required": ["a"], "additionalProperties": False}, "allows nothing"),
    "beside": ({"$defs": {"a": {}}, "$ref": "#/$defs/a", "type": "string"}, "beside '$ref'"),
    "bounds": ({"type": "integer", "minimum": 3, "maximum": 2}, "no number satisfies"),
    "length": ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing satisfies"),
    "both": ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "another part"),
    "pattern": ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    "twice": ({"type": "object", "minProperties": 2}, "#/minProperties"),
    "counted": ({"properties": {"a": {}}, "minProperties": 1}, "counts properties"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_held_is_refused_by_name(name: str):
    """Given a schema that no grammar expresses, when it is written, then the place is named."""
    schema, named = REFUSED[name]
    with pytest.raises(UnsupportedParameter, match="cannot be held") as refused:
        write_grammar(schema, ("response_format",))
    assert named in refused.value.message
    assert refused.value.location == ("response_format",)


BOUND = st.one_of(
    st.integers(-1200, 1200), st.decimals(-50, 50, places=2).map(float), st.just(10**20)
)


@settings(max_examples=300, deadline=None)
@given(
    low=st.none() | BOUND,
    high=st.none() | BOUND,
    keys=st.tuples(
        st.sampled_from(["minimum", "exclusiveMinimum"]),
        st.sampled_from(["maximum", "exclusiveMaximum"]),
    ),
    seed=st.integers(0, 1000),
)
def test_numbers_stay_within_their_bounds(
    low: float | None, high: float | None, keys: tuple[str, str], seed: int
):
    """Given any bounds, when numbers are drawn, then none is outside."""
    schema = {key: end for key, end in zip(keys, (low, high), strict=True) if end is not None}
    for write, kind in ((integers, "integer"), (numbers, "number")):
        body = write(read_interval(schema))
        if body is None:
            continue
        grammar, random = Grammar(f"root ::= {body}"), Random(seed)  # noqa: S311
        for _ in range(10):
            text = grammar.draw(random)
            assert json.loads(text) is not None
            jsonschema.validate(int(text) if kind == "integer" else float(text), {"type": kind})
            value = Decimal(text)
            assert (
                low is None
                or value > Decimal(str(low))
                or (value == Decimal(str(low)) and keys[0] == "minimum")
            )
            assert (
                high is None
                or value < Decimal(str(high))
                or (value == Decimal(str(high)) and keys[1] == "maximum")
            )


@given(low=st.integers(-300, 300), size=st.integers(0, 200), probe=st.integers(-600, 600))
@settings(max_examples=300, deadline=None)
def test_whole_numbers_within_bounds_are_all_there(low: int, size: int, probe: int):
    """Given whole bounds, when a number is looked up, then it is there exactly if it is within."""
    body = integers(read_interval({"minimum": low, "maximum": low + size}))
    assert body is not None
    assert Grammar(f"root ::= {body}").matches(str(probe)) == (low <= probe <= low + size)


PATTERNS = {
    r"^abc$": (["abc"], ["ab", "abcd", "xabc"]),
    r"b": (["abc", "b"], ["ac", ""]),
    r"^a|b$": None,
    r"^(a|b)+$": (["a", "abba"], ["", "c"]),
    r"^[^a-c]{2}$": (["xy", "-~"], ["ax", "x"]),
    r'^["\\]$': (['\\"', "\\\\"], ['"', "x"]),
    r"^\w+@\w+\.(com|org)$": (["a_1@b.com"], ["a@b.net"]),
    r"^\s\S$": (["\\tx", " x"], ["xx"]),
    r"^a{2,}?$": (["aa", "aaaa"], ["a"]),
    r"^\u0041\x42$": (["AB"], ["ab"]),
    r"^[]$": None,
    r"^(a$": None,
    r"^a)$": None,
    r"^a{2000}$": None,
    r"^*$": None,
    r"^\bx$": None,
    "^a\\": None,
    r"^.$": (["x", "한", '\\"'], ["\\n", "xy"]),
}


@pytest.mark.parametrize("expression", PATTERNS)
def test_a_pattern_means_what_it_says(expression: str):
    """Given a pattern, when texts are read by its grammar, then those match that should."""
    expected = PATTERNS[expression]
    if expected is None:
        with pytest.raises(UnknownPatternError):
            pattern(expression)
        return
    grammar = Grammar(f"root ::= {pattern(expression)}")
    assert [text for text in expected[0] if not grammar.matches(text)] == []
    assert [text for text in expected[1] if grammar.matches(text)] == []


@settings(max_examples=500, deadline=None)
@given(expression=st.text(alphabet='ab01[]()|*+?{},^$.\\dwsS-"', max_size=12))
def test_texts_of_a_pattern_match_it(expression: str):
    """Given any expression, when it has a grammar, then what is drawn from it matches."""
    try:
        grammar = Grammar(f"root ::= {pattern(expression)}")
        reference = re.compile(expression, re.ASCII)
    except (UnknownPatternError, re.error, FutureWarning):
        return
    text = json.loads(f'"{grammar.draw(Random(1))}"')  # noqa: S311
    assert reference.search(text)
