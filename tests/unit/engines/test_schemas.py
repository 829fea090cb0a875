"""Bounds on JSON Schemas."""

from typing import Any

import pytest

from zaffre.core.errors import InvalidParameter
from zaffre.engines.text.schemas import (
    ANY_OBJECT,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_ENUM_VALUES,
    MAX_SUBSCHEMAS,
    RESPONSE_SCHEMA,
    check_schema,
    resolve,
    tool_schema,
)


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def _diamonds(levels: int) -> dict[str, Any]:
    """Two ways at each level: 2 ** levels paths, of which none leads in a circle."""
    both = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**both, f"d{levels}": {"type": "null"}}}


GOOD = {
    "empty": {},
    "booleans": {"additionalProperties": False, "properties": {"a": True}},
    "any object": ANY_OBJECT,
    "recursive": {"type": "object", "properties": {"next": {"$ref": "#"}}},
    "a property called $ref": {"properties": {"$ref": {"type": "string"}}},
    "a property called items": {"properties": {"items": {"type": ["string", "null"]}}},
    "escaped pointer": {"$ref": "#/$defs/a~1b~0c", "$defs": {"a/b~c": {"type": "string"}}},
    "deep, but not too deep": _nested(MAX_DEPTH - 1),
    "diamonds": _diamonds(30),
    "unknown keywords": {"x-order": 3, "description": "an age"},
}
BAD = {
    "too deep": _nested(MAX_DEPTH),
    "25,000 levels": _nested(25_000),
    "too long": {"description": "x" * MAX_BYTES},
    "too many subschemas": {"properties": {f"p{at}": {} for at in range(MAX_SUBSCHEMAS)}},
    "too many values": {"enum": list(range(MAX_ENUM_VALUES + 1))},
    "remote reference": {"$ref": "https://example.com/schema.json"},
    "reference into a file": {"$ref": "other.json#/a"},
    "reference to nowhere": {"$ref": "#/$defs/missing"},
    "reference to no schema": {"$ref": "#/properties", "properties": {}},
    "reference to itself": {"$ref": "#"},
    "circle of two": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "circle through anyOf": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    "dynamic reference": {"$dynamicRef": "#node"},
    "unknown type": {"type": "text"},
    "no types": {"type": []},
    "negative length": {"minLength": -1},
    "length of a billion": {"maxLength": 10**9},
    "length that is a boolean": {"maxItems": True},
    "bound that is a text": {"minimum": "3"},
    "required that is a text": {"required": "name"},
    "empty enum": {"enum": []},
    "empty anyOf": {"anyOf": []},
    "properties that are a list": {"properties": ["name"]},
    "items that are a number": {"items": 3},
    "pattern that is a number": {"pattern": 3},
    "a list": [],
    "a text": "object",
}


@pytest.mark.parametrize("schema", GOOD.values(), ids=GOOD)
def test_a_usable_schema_passes(schema: dict[str, Any]):
    """Given a schema within the bounds, when it is checked, then nothing is raised."""
    check_schema(schema, RESPONSE_SCHEMA)


@pytest.mark.parametrize("schema", BAD.values(), ids=BAD)
def test_an_unusable_schema_is_refused_where_it_stands(schema: object):
    """Given a schema out of bounds, when it is checked, then the refusal says where it stands."""
    with pytest.raises(InvalidParameter) as refusal:
        check_schema(schema, tool_schema(2))
    assert refusal.value.location == ("tools", 2, "function", "parameters")
    assert len(refusal.value.message) < 400


def test_a_reference_is_resolved():
    """Given a pointer into a schema, when it is resolved, then what it points to comes back."""
    schema = {"$defs": {"a": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}
    assert resolve(schema, "#/$defs/a/anyOf/1") == {"type": "string"}
    with pytest.raises(KeyError):
        resolve(schema, "#/$defs/a/anyOf/2")
