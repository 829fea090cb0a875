"""JSON Schemas from clients, held against bounds before an engine's native code sees them.

A schema nested a few thousand levels deep kills llama.cpp, a reference to itself hangs a grammar
compiler, and a reference to another host would be a request to it. So every schema passes here.
"""

from collections.abc import Iterator
from json import dumps
from typing import Any

from zaffre.core.errors import InvalidParameter, Location

MAX_DEPTH = 64
"""Levels of nesting of the schema's JSON."""
MAX_BYTES = 128 * 1024
"""Length of the schema as compact JSON."""
MAX_SUBSCHEMAS = 2000
"""Schemas inside the schema, itself included; each becomes at least one rule of a grammar."""
MAX_ENUM_VALUES = 1000
"""Values of all `enum` lists together; each becomes an alternative of a grammar rule."""
MAX_COUNT = 10_000
"""The largest bound on the length of a text, a list or an object."""
MAX_PATTERN = 1000
"""Characters of a `pattern`."""

SCHEMA_KEYS = frozenset(
    {
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords whose value is a schema."""
SCHEMA_LIST_KEYS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""
SCHEMA_MAP_KEYS = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
"""Keywords whose value is an object of schemas."""

_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def _any_object(depth: int, members: int) -> dict[str, Any]:
    scalar = {"type": ["string", "number", "boolean", "null"]}
    defs: dict[str, Any] = {"value0": scalar}
    for level in range(1, depth):
        inner = {"$ref": f"#/$defs/value{level - 1}"}
        items = {"type": "array", "items": inner, "maxItems": members}
        named = {"type": "object", "additionalProperties": inner, "maxProperties": members}
        # Every kind of value once: where two alternatives begin alike, grammars are slow.
        defs[f"value{level}"] = {"anyOf": [scalar, items, named]}
    top = {"$ref": f"#/$defs/value{depth - 1}"}
    return {
        "type": "object",
        "additionalProperties": top,
        "maxProperties": members,
        "$defs": defs,
    }


ANY_OBJECT = _any_object(depth=5, members=16)
"""The schema behind `json_object`: any object, within bounds that make most answers end. What
reaches `max_tokens` before it is complete ends there, with the reason `length`. Texts have no bound
of their own: counting their characters would make every step slower, for everybody."""

RESPONSE_SCHEMA: Location = ("response_format", "json_schema", "schema")
"""Where the schema of `response_format` stands in a request."""


def tool_schema(position: int) -> Location:
    """Where the parameters of tool number `position` stand in a request."""
    return ("tools", position, "function", "parameters")


def check_schema(schema: object, location: Location) -> None:
    """Hold a schema against the bounds of this module.

    Raises `InvalidParameter` at `location` when it is too deep, too long or too rich, when a
    keyword has a value of the wrong type, and when a `$ref` leads outside, nowhere or in a circle.
    """
    if not isinstance(schema, dict):
        raise InvalidParameter(location, type(schema).__name__, "A JSON Schema must be an object.")
    _check_size(schema, location)
    enum_values = 0
    for number, (place, subschema) in enumerate(walk(schema), start=1):
        if number > MAX_SUBSCHEMAS:
            raise _refusal(location, "schema", f"has more than {MAX_SUBSCHEMAS} subschemas")
        _check_keywords(subschema, place, location)
        enum_values += len(subschema.get("enum", ())) if isinstance(subschema, dict) else 0
    if enum_values > MAX_ENUM_VALUES:
        raise _refusal(location, "enum", f"lists more than {MAX_ENUM_VALUES} values")
    _check_references(schema, location)


def walk(schema: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Every schema inside `schema`, itself first, with its JSON pointer (`#/properties/name`)."""
    stack: list[tuple[str, object]] = [("#", schema)]
    while stack:
        place, current = stack.pop()
        yield place, current
        if isinstance(current, dict):
            stack.extend(_children(current, place))


def resolve(schema: dict[str, Any], reference: str) -> object:
    """The part of `schema` that a `$ref` within it points to; `KeyError` when there is none."""
    if reference != "#" and not reference.startswith("#/"):
        raise KeyError(reference)
    target: object = schema
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, dict) and key in target:
            target = target[key]
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            raise KeyError(reference)
    return target


def _children(schema: dict[str, Any], place: str) -> Iterator[tuple[str, object]]:
    for key, value in schema.items():
        if key in SCHEMA_KEYS:
            yield f"{place}/{key}", value
        elif key in SCHEMA_LIST_KEYS and isinstance(value, list):
            yield from ((f"{place}/{key}/{at}", item) for at, item in enumerate(value))
        elif key in SCHEMA_MAP_KEYS and isinstance(value, dict):
            yield from ((f"{place}/{key}/{_escape(name)}", item) for name, item in value.items())


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _check_size(schema: dict[str, Any], location: Location) -> None:
    level: list[object] = [schema]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _values(value)]
        if not level:
            break
    else:
        raise _refusal(location, "schema", f"is nested deeper than {MAX_DEPTH} levels")
    if len(dumps(schema, separators=(",", ":"), ensure_ascii=False).encode()) > MAX_BYTES:
        raise _refusal(location, "schema", f"is longer than {MAX_BYTES} bytes")


def _values(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _check_keywords(schema: object, place: str, location: Location) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _refusal(location, place, "must be an object or a boolean")
    for key, value in schema.items():
        trouble = _trouble(key, value)
        if trouble:
            raise _refusal(location, f"{place}/{key}", trouble)


def _trouble(key: str, value: object) -> str | None:
    """What is wrong with the value of a keyword, if anything."""
    if key in SCHEMA_LIST_KEYS:
        return None if isinstance(value, list) and value else "must be a list of schemas"
    if key in SCHEMA_MAP_KEYS:
        return None if isinstance(value, dict) else "must be an object of schemas"
    if key in _COUNTS:
        fits = type(value) is int and 0 <= value <= MAX_COUNT
        return None if fits else f"must be an integer between 0 and {MAX_COUNT}"
    if key in _NUMBERS:
        # Draft 4 wrote exclusiveMinimum as a boolean; no engine reads that any more.
        return None if type(value) in (int, float) else "must be a number"
    return _text_trouble(key, value)


def _text_trouble(key: str, value: object) -> str | None:
    listed = value if isinstance(value, list) else [value]
    local = isinstance(value, str) and (value == "#" or value.startswith("#/"))
    short = isinstance(value, str) and len(value) <= MAX_PATTERN
    trouble = {
        "type": (
            bool(listed) and all(isinstance(name, str) and name in _TYPES for name in listed),
            f"must be one of {', '.join(sorted(_TYPES))}, or a list of them",
        ),
        "enum": (isinstance(value, list) and bool(value), "must be a list of values"),
        "required": (
            isinstance(value, list) and all(isinstance(name, str) for name in value),
            "must be a list of names",
        ),
        "pattern": (short, f"must be a text of at most {MAX_PATTERN} characters"),
        "$ref": (local, "must point into this schema ('#/$defs/...')"),
        "$dynamicRef": (False, "is not supported; use '$ref'"),
        "$recursiveRef": (False, "is not supported; use '$ref'"),
    }.get(key)
    return None if trouble is None or trouble[0] else trouble[1]


def _check_references(schema: dict[str, Any], location: Location) -> None:
    """Refuse references that lead nowhere, or back to themselves without any JSON in between."""
    places = {id(found): place for place, found in walk(schema)}
    open_, done = set[int](), set[int]()
    stack: list[tuple[dict[str, Any], bool]] = [
        (found, True) for _, found in walk(schema) if isinstance(found, dict)
    ]
    while stack:
        current, entering = stack.pop()
        key = id(current)
        if not entering:
            open_.discard(key)
            done.add(key)
        elif key in open_:
            raise _refusal(location, places[key], "refers to itself in a circle")
        elif key not in done:
            open_.add(key)
            stack.append((current, False))
            stack.extend((other, True) for other in _same_value(schema, current, places, location))


def _same_value(
    root: dict[str, Any], schema: dict[str, Any], places: dict[int, str], location: Location
) -> list[dict[str, Any]]:
    """The schemas that the very value which `schema` describes is held against as well."""
    related = [item for key in ("allOf", "anyOf", "oneOf") for item in schema.get(key, ())]
    related.extend(schema[key] for key in ("if", "then", "else", "not") if key in schema)
    if "$ref" in schema:
        try:
            target = resolve(root, schema["$ref"])
        except KeyError:
            target = None
        if not isinstance(target, dict) or id(target) not in places:
            trouble = f"refers to '{schema['$ref'][:100]}', where no schema is"
            raise _refusal(location, places[id(schema)], trouble)
        related.append(target)
    return [other for other in related if isinstance(other, dict)]


def _refusal(location: Location, place: str, trouble: str) -> InvalidParameter:
    place = place if len(place) <= 200 else f"{place[:200]}..."
    return InvalidParameter(location, place, f"This JSON Schema cannot be used: {place} {trouble}.")
