"""Results: JSON in bench/results/, and the tables of docs/benchmarks.md that are made of it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.figures import Bar, Figure, Row
from bench.processes import ROOT

FOLDER = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
_HIDDEN = ("generator_",)
"""Figures that only stand in the JSON."""
_UNITS = {
    "_ms": " ms",
    "_per_s": "/s",
    "_us_per_request": " µs/request",
    "_us_per_chunk": " µs/chunk",
    "_mib": " MiB",
    "_s": " s",
}


class Result(Struct, frozen=True, kw_only=True):
    """What one run of a suite found."""

    suite: str
    command: str
    date: str
    machine: str
    versions: dict[str, str]
    pinning: str
    rounds: int
    foreign_cores: float
    """The most that others used during a round."""
    busy: bool
    """Whether rounds were kept although others used the machine."""
    facts: dict[str, float] = {}
    rows: list[Row]
    bars: list[Bar]


def keep(result: Result) -> Path:
    """Write `result` down."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{result.suite}-{result.date}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def newest(suite: str) -> Path | None:
    """The file of the last run."""
    return max(FOLDER.glob(f"{suite}-????-??-??.json"), default=None)


def write_page(suites: Sequence[str]) -> None:
    """Put the newest results between their marks in the page; the rest of it is written by hand."""
    page = PAGE.read_text()
    for suite in suites:
        path = newest(suite)
        if path is None:
            continue
        text = _section(msgspec.json.decode(path.read_bytes(), type=Result), path.name)
        marks = re.compile(rf"(<!-- {suite} -->\n).*?(<!-- /{suite} -->)", re.DOTALL)
        page = marks.sub(lambda found, text=text: found[1] + text + found[2], page)  # type: ignore[misc]
    PAGE.write_text(page)


def bar_table(bars: Sequence[Bar]) -> str:
    """What was set before, and what came of it."""
    rows = [
        [
            bar.what,
            bar.bar,
            bar.beyond or "–",
            bar.measured,
            bar.verdict + (f" ({bar.remark})" if bar.remark else ""),
        ]
        for bar in bars
    ]
    return _table(["what", "bar", "beyond", "measured", "verdict"], rows)


def _section(result: Result, name: str) -> str:
    busy = ", **others were using the machine**" if result.busy else ""
    versions = ", ".join(f"{package} {version}" for package, version in result.versions.items())
    lines = [
        f"`{result.command}`, {result.date}; {result.machine}; {versions}.",
        f"Pinned: {result.pinning}. {result.rounds} interleaved rounds; at most"
        f" {result.foreign_cores:.2f} cores used by others{busy}. All numbers:"
        f" [bench/results/{name}](../bench/results/{name}).",
        *(f"{what}: {value:g}." for what, value in result.facts.items()),
        "",
        bar_table(result.bars),
    ]
    for workload in dict.fromkeys(row.workload for row in result.rows):
        rows = [row for row in result.rows if row.workload == workload]
        lines += [f"**{workload}**", "", _rows_table(rows)]
    return "\n".join(lines) + "\n"


def _rows_table(rows: Sequence[Row]) -> str:
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row.figures)
        if not name.startswith(_HIDDEN)
    ]
    body = [[row.arm, *(_cell(row.figures, name) for name in names)] for row in rows]
    return _table(["", *map(_title, names)], body)


def _title(name: str) -> str:
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')},{unit}"
    return name.replace("_", " ")


def _cell(figures: Mapping[str, Figure], name: str) -> str:
    figure = figures.get(name)
    if figure is None or (figure.median == 0 and "left" not in name):
        return "–"
    if figure.least == figure.most:
        return f"{figure.median:,.4g}"
    return f"{_number(figure.median)} ({_number(figure.least)} – {_number(figure.most)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
