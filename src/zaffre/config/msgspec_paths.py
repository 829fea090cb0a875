"""What msgspec complains about, as steps from the root of a document."""

import difflib
import re
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields

Step = str | int
Steps = tuple[Step, ...]

_PLACE = re.compile(
    r"(?P<text>.*?)(?: - at `(?P<what>[^`]*)`(?: in `(?P<inside>[^`]*)`)?)?", re.DOTALL
)
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|(?P<entry>\[\.\.\.\])")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MAX_SEARCHED = 1000
"""Entries of a mapping that are tried one by one to find the bad one."""


class UnknownField(Struct, frozen=True):
    """A field that should not be there."""

    name: str

    def hint(self, kind: type, steps: Steps) -> str:
        """The nearest field that there is, as the end of a sentence."""
        there = _fields_at(kind, steps)
        near = difflib.get_close_matches(self.name, there, n=1)
        return f"; did you mean '{near[0]}'?" if near else "."


def unknown_field(text: str) -> UnknownField | None:
    """The field that `text`, a complaint of msgspec's, is about, if it is about an unknown one."""
    found = _UNKNOWN.fullmatch(text)
    return UnknownField(found["name"]) if found else None


def steps_to(invalid: msgspec.ValidationError, value: object, kind: type) -> tuple[Steps, str]:
    """Where in `value`, which is no `kind`, the trouble is, and what it is."""
    text, place = _parts(invalid)
    steps: Steps = ()
    for step in _STEP.finditer(place):
        if step["name"] is not None:
            steps = (*steps, step["name"])
        elif step["index"] is not None:
            steps = (*steps, int(step["index"]))
        else:
            # msgspec does not say which entry of a mapping it is about.
            key = _bad_entry(value, kind, steps, (text, place))
            if key is None:
                break
            steps = (*steps, key)
    return steps, text


def _parts(invalid: msgspec.ValidationError) -> tuple[str, str]:
    found = _PLACE.fullmatch(str(invalid))
    if found is None:
        return str(invalid), ""
    return found["text"], (found["inside"] or found["what"] or "").removeprefix("$")


def _bad_entry(value: object, kind: type, steps: Steps, trouble: tuple[str, str]) -> str | None:
    """The key that alone in its mapping still makes the same trouble."""
    mapping: Any = value
    for step in steps:
        mapping = mapping[step]
    for key in list(mapping)[:_MAX_SEARCHED]:
        try:
            msgspec.convert(_with(value, steps, {key: mapping[key]}), kind)
        except msgspec.ValidationError as again:
            if _parts(again) == trouble:
                return str(key)
    return None


def _with(value: Any, steps: Steps, new: object) -> object:  # noqa: ANN401 - lists and mappings
    """A copy of `value` with `new` at `steps`."""
    if not steps:
        return new
    changed = value.copy()
    changed[steps[0]] = _with(value[steps[0]], steps[1:], new)
    return changed


def _fields_at(kind: type, steps: Steps) -> list[str]:
    """The names of the fields that a struct may have at `steps` inside `kind`."""
    node = msgspec.inspect.type_info(kind)
    for step in steps:
        found = _inside(node, step)
        if found is None:
            return []
        node = found
    struct = _struct(node)
    return [] if struct is None else [field.encode_name for field in fields(struct)]


def _inside(node: msgspec.inspect.Type, step: Step) -> msgspec.inspect.Type | None:
    for option in _options(node):
        if isinstance(option, msgspec.inspect.StructType):
            for field in option.fields:
                if field.encode_name == step:
                    return field.type
        elif isinstance(option, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            return option.item_type
        elif isinstance(option, msgspec.inspect.DictType):
            return option.value_type
    return None


def _struct(node: msgspec.inspect.Type) -> type | None:
    for option in _options(node):
        if isinstance(option, msgspec.inspect.StructType):
            return option.cls
    return None


def _options(node: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    """The alternatives of a union, without what only describes them."""
    if isinstance(node, msgspec.inspect.Metadata):
        return _options(node.type)
    if isinstance(node, msgspec.inspect.UnionType):
        return tuple(inner for option in node.types for inner in _options(option))
    return (node,)
