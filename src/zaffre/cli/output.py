"""Output: what the server shows as JSON, as a table, or as values between tabs; and parts of it."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from zaffre.config.settings import ConfigurationError

Form = Literal["json", "table", "tsv"]

_QUERY = re.compile(
    r"(?:[A-Za-z_]\w*|\[(?:-?\d{1,6}|\*)?\])(?:\.[A-Za-z_]\w*|\[(?:-?\d{1,6}|\*)?\])*"
)
_STEP = re.compile(r"(?P<name>[A-Za-z_]\w*)|\[(?P<index>[^\]]*)\]")


def render(
    value: Any,  # noqa: ANN401 - JSON
    form: Form,
    *,
    columns: Sequence[str] = (),
    query: str | None = None,
) -> str:
    """`value` in a form that ends without a line end; empty when there is nothing to print.

    A table has `columns`, or, where a query chose something else, all fields that fit. Raises
    `ConfigurationError` for a query that is not understood.
    """
    if query is not None:
        value, columns = select(value, query), ()
        if value is None:  # as az: a script's `$(...)` is empty, not the word null
            return ""
    match form:
        case "json":
            return json.dumps(value, indent=2, ensure_ascii=False)
        case "table":
            return table(_rows(value), columns)
        case "tsv":
            return "\n".join(_tsv_line(row) for row in _rows(value))


def echo(
    value: Any,  # noqa: ANN401 - JSON
    form: Form,
    *,
    columns: Sequence[str] = (),
    query: str | None = None,
) -> None:
    """Print `value` as `render` writes it; nothing at all where there is nothing."""
    if text := render(value, form, columns=columns, query=query):
        print(text)


def select(value: Any, query: str) -> Any:  # noqa: ANN401 - JSON
    """The part of `value` that a query names: `scoring_uri`, `traffic.blue`, `[0]`, `[].name`.

    As in JMESPath, which this is the everyday part of, what is not there is None. Raises
    `ConfigurationError` for any other query.
    """
    if not _QUERY.fullmatch(query):
        raise ConfigurationError(
            f"--query '{query}' is not understood: it takes paths such as name, traffic.blue, [0]"
            " and [].name. For more, pipe the JSON into jq."
        )
    return _select(value, [(m["name"], m["index"]) for m in _STEP.finditer(query)])


def table(rows: Iterable[object], columns: Sequence[str] = ()) -> str:
    """One row is one line, however narrow the terminal, so that grep works."""
    cells = [row if isinstance(row, dict) else {"value": row} for row in rows]
    if not cells:
        return ""
    names = columns or tuple(dict.fromkeys(name for row in cells for name in row))
    lines = [names, *([_cell(row.get(name)) for name in names] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _select(value: Any, steps: Sequence[tuple[str | None, str | None]]) -> Any:  # noqa: ANN401
    for number, (name, index) in enumerate(steps):
        if name is not None:
            value = value.get(name) if isinstance(value, dict) else None
        elif not isinstance(value, list):
            return None
        elif index in ("", "*"):
            found = (_select(part, steps[number + 1 :]) for part in value)
            return [part for part in found if part is not None]
        else:
            place = int(index or 0)
            value = value[place] if -len(value) <= place < len(value) else None
    return value


def _rows(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _tsv_line(row: object) -> str:
    values = row.values() if isinstance(row, dict) else [row]
    return "\t".join(_cell(value) for value in values)


def _cell(value: object) -> str:
    """One value on one line. What is deeper than pairs of names and values is only counted."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case dict():
            flat = not any(isinstance(part, dict | list) for part in value.values())
            return " ".join(f"{n}={_cell(v)}" for n, v in value.items()) if flat else "{…}"
        case list():
            flat = not any(isinstance(part, dict | list) for part in value)
            return ",".join(map(_cell, value)) if flat else f"[{len(value)}]"
        case _:
            return re.sub(r"\s+", " ", str(value))
