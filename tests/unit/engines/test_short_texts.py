"""Bounds that go into a grammar where the client's schema has none."""

from zaffre.engines.text.short_texts import MOST_ITEMS, shortened

TEXT = {"type": "string"}


def test_texts_without_a_bound_get_one():
    """Given texts at every kind of place, when the schema is shortened, then each has a bound."""
    schema = {
        "type": "object",
        "properties": {"a": TEXT, "b": {"anyOf": [TEXT, {"type": "null"}]}},
        "additionalProperties": {"type": ["string", "null"]},
        "$defs": {"c": {"type": "array", "items": TEXT}},
    }
    short = {"type": "string", "maxLength": 40}
    assert shortened(schema, 40) == {
        "type": "object",
        "properties": {"a": short, "b": {"anyOf": [short, {"type": "null"}]}},
        "additionalProperties": {"type": ["string", "null"], "maxLength": 40},
        "$defs": {"c": {"type": "array", "items": short, "maxItems": MOST_ITEMS}},
    }


def test_bounds_that_are_there_stay():
    """Given texts and lists whose schema says how long they are, then nothing is added."""
    for schema in (
        {"type": "string", "maxLength": 999},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "string", "pattern": "^a+$"},
        {"type": "string", "format": "date"},
        {"type": "array", "maxItems": 99},
        {"type": "integer"},
        {"properties": {"type": {"const": "string"}}},
    ):
        assert shortened(schema, 40) == schema


def test_what_must_be_long_may_be():
    """Given a text that must be longer than the bound, then the bound gives way."""
    assert shortened({"type": "string", "minLength": 50}, 40)["maxLength"] == 50
    assert shortened({"type": "array", "minItems": 50}, 40)["maxItems"] == 50


def test_a_property_may_be_called_like_a_keyword():
    """Given properties named `items` and `type`, then they are read as properties."""
    schema = {"type": "object", "properties": {"items": TEXT, "type": TEXT}}
    assert shortened(schema, 40)["properties"]["items"] == {"type": "string", "maxLength": 40}
    assert "maxLength" not in shortened(schema, 40)
