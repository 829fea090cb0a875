"""Editing: documents changed before they are sent, as `--set a.b=c` and relative paths need it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from zaffre.config.msgspec_paths import Step
from zaffre.config.names import PATH_PREFIX, absolute
from zaffre.config.settings import ConfigurationError

_ASSIGNMENT = re.compile(
    r"(?P<place>[^.\[\]=\s]+(?:\.[^.\[\]=\s]+|\[\d{1,4}\])*)=(?P<value>.*)", re.DOTALL
)
_STEP = re.compile(r"(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]")


def with_value(document: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """A copy of `document` changed by `a.b[0].c=value`, as Azure's `--set` has it.

    The value is JSON where it can be read as that (numbers, true, null, lists, mappings), and else
    a text. Mappings on the way that are missing are made; a list takes one more item at its end.
    Raises `ConfigurationError` when the place cannot be.
    """
    found = _ASSIGNMENT.fullmatch(assignment)
    if found is None:
        raise ConfigurationError(f"'{assignment}' must be like: tags.team=search")
    steps: list[Step] = [
        int(step["index"]) if step["name"] is None else step["name"]
        for step in _STEP.finditer(found["place"])
    ]
    try:
        changed: dict[str, Any] = _with(dict(document), steps, _value(found["value"]))
    except (TypeError, IndexError):
        raise ConfigurationError(f"'{found['place']}' is no place in this document.") from None
    return changed


def with_absolute_paths(document: object, base: Path) -> object:
    """A copy of `document` in which paths of models and keys no longer depend on a folder.

    For a document that was read here and is used elsewhere on the machine. What cannot be a path
    stays as it is, for the reader to refuse.
    """
    if not isinstance(document, dict):
        return document
    changed = dict(document)
    for field in ("endpoints", "deployments", "upstreams"):
        if isinstance(changed.get(field), list):
            changed[field] = [with_absolute_paths(part, base) for part in changed[field]]
    if "zaffre" in changed:
        changed["zaffre"] = with_absolute_paths(changed["zaffre"], base)
    for field in ("model", "model_id"):
        written = changed.get(field)
        if isinstance(written, str) and written.startswith(PATH_PREFIX):
            changed[field] = PATH_PREFIX + _absolute(written.removeprefix(PATH_PREFIX), base)
        elif isinstance(written, dict) and isinstance(written.get("path"), str):
            changed[field] = written | {"path": _absolute(written["path"], base)}
    if isinstance(changed.get("key_file"), str):
        changed["key_file"] = _absolute(changed["key_file"], base)
    return changed


def _absolute(path: str, base: Path) -> str:
    if "://" in path:
        return path
    try:
        return str(absolute(path, base))
    except ValueError:
        return path


def _value(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text


def _with(there: Any, steps: list[Step], value: object) -> Any:  # noqa: ANN401 - plain values
    """A copy of `there` with `value` at `steps`. Raises `TypeError` and `IndexError`."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if not isinstance(there, list | None):
            raise TypeError
        items = list(there or [])
        if step == len(items):
            items.append(None)
        items[step] = _with(items[step], rest, value)
        return items
    mapping = {} if there is None else there
    if not isinstance(mapping, dict):
        raise TypeError
    return mapping | {step: _with(mapping.get(step), rest, value)}
