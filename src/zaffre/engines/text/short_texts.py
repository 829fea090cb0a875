"""Shorter texts and lists in structured answers, for models that do not know when to stop.

A small model that is held to `{"type": "string"}` may write on until its tokens run out, and half
a string is no JSON. For such models the card names a bound (`ModelCard.longest_json_text`), which
goes into the grammar wherever the schema has none of its own. What is decoded still satisfies the
client's schema.
"""

from typing import Any

from zaffre.engines.text.schemas import SCHEMA_KEYS, SCHEMA_LIST_KEYS, SCHEMA_MAP_KEYS

MOST_ITEMS = 16
"""Of a list for which the schema has no bound."""
_BOUNDED_TEXT = frozenset({"maxLength", "enum", "const", "pattern", "format"})
_BOUNDED_LIST = frozenset({"maxItems", "enum", "const"})


def shortened(schema: dict[str, Any], longest_text: int) -> dict[str, Any]:
    """`schema` with at most `longest_text` characters for texts and `MOST_ITEMS` for lists.

    Bounds that are there stay; a `minLength` or `minItems` above ours raises it. The schema has
    passed `check_schema`, so its depth is bounded.
    """
    types = schema.get("type", ())
    kinds = {types} if isinstance(types, str) else set(types)
    result = {key: _inside(key, value, longest_text) for key, value in schema.items()}
    if "string" in kinds and not _BOUNDED_TEXT & schema.keys():
        result["maxLength"] = max(longest_text, schema.get("minLength", 0))
    if "array" in kinds and not _BOUNDED_LIST & schema.keys():
        result["maxItems"] = max(MOST_ITEMS, schema.get("minItems", 0))
    return result


def _inside(key: str, value: Any, longest_text: int) -> Any:  # noqa: ANN401 - any JSON
    if key in SCHEMA_KEYS and isinstance(value, dict):
        return shortened(value, longest_text)
    if key in SCHEMA_LIST_KEYS and isinstance(value, list):
        return [shortened(s, longest_text) if isinstance(s, dict) else s for s in value]
    if key in SCHEMA_MAP_KEYS and isinstance(value, dict):
        return {
            name: shortened(s, longest_text) if isinstance(s, dict) else s
            for name, s in value.items()
        }
    return value
