"""`zaffre usage`: who used what, and what that costs."""

import asyncio
import csv
import io
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Literal, cast

import msgspec
import typer

from zaffre.core.errors import ZaffreError
from zaffre.core.metering import UsageGroup, UsageQuery, UsageSum
from zaffre.metering.ledger_file import FILE_NAME, read_usage
from zaffre.metering.sums import read_first_day
from zaffre.registry.prices import find_prices
from zaffre.registry.store import ModelStore, default_home

Output = Literal["table", "csv", "json"]

_COLUMNS = (
    "requests",
    "errors",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
)


def usage(
    by: Annotated[str, typer.Option(help="Sum up by key, model, endpoint or day.")] = "key",
    since: Annotated[
        str, typer.Option(help="First day, UTC: 2026-11-01, or 7d for seven days back.")
    ] = "30d",
    output: Annotated[str, typer.Option("--output", "-o", help="table, csv or json.")] = "table",
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="Mirrored requests, not the clients' own.")
    ] = False,
    ledger_url: Annotated[
        str | None,
        typer.Option(
            envvar="ZAFFRE_LEDGER_URL",
            help="The Postgres that several gateways share; default: the ledger in ZAFFRE_HOME.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what was used, from the ledger itself: a server may run or not, nothing is changed."""
    if by not in ("key", "model", "endpoint", "day"):
        raise typer.BadParameter("must be key, model, endpoint or day.", param_hint="--by")
    if output not in ("table", "csv", "json"):
        raise typer.BadParameter("must be table, csv or json.", param_hint="--output")
    query = UsageQuery(cast("UsageGroup", by), since_day=_first_day(since), mirrored=mirrored)
    try:
        sums = _read(query, ledger_url)
    except ZaffreError as trouble:
        typer.echo(trouble.message, err=True)
        raise typer.Exit(1) from trouble
    typer.echo(render(sums, by, cast("Output", output)), nl=False)


def render(sums: Sequence[UsageSum], by: str, output: Output) -> str:
    """`sums`, grouped by `by`, as text that ends with a newline."""
    match output:
        case "json":
            return msgspec.json.format(msgspec.json.encode(sums), indent=2).decode() + "\n"
        case "csv":
            return _csv(sums, by)
        case "table":
            return _table(sums, by)


def _read(query: UsageQuery, url: str | None) -> list[UsageSum]:
    home = default_home(os.environ)
    prices = find_prices(ModelStore(home))
    if url is None:
        return read_usage(home / FILE_NAME, query, prices)
    try:
        postgres = import_module("zaffre.metering.postgres")
    except ModuleNotFoundError:
        raise ZaffreError(
            "Reading a shared ledger needs: pip install 'zaffre[postgres]'."
        ) from None
    return cast("list[UsageSum]", asyncio.run(postgres.read_shared_usage(url, query, prices)))


def _first_day(since: str) -> int:
    try:
        return read_first_day(since)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--since") from None


def _csv(sums: Sequence[UsageSum], by: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, "name", *_COLUMNS])
    for one in sums:
        values = [getattr(one, column) for column in _COLUMNS]
        writer.writerow([_plain(one.group), _plain(one.name), *values])
    return text.getvalue()


def _plain(text: str) -> str:
    # Names are whatever people gave their keys; a spreadsheet runs what begins like this.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _table(sums: Sequence[UsageSum], by: str) -> str:
    header = [by, "requests", "errors", "prompt", "completion", "cached", "reasoning", "cost"]
    rows = [header, *(_row(one) for one in sums)]
    if len(sums) > 1:
        rows.append(_row(_total(sums)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *numbers in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    if any(one.cost is not None and one.unpriced_tokens for one in sums):
        lines.append("+ and what models without a price cost")
    return "\n".join(lines) + "\n"


def _row(one: UsageSum) -> list[str]:
    name = one.name if one.name == one.group else f"{one.name} ({one.group})"
    counts = [f"{getattr(one, column):,}" for column in _COLUMNS[:-1]]
    if one.cost is None:
        return [name or "(none)", *counts, "-"]
    return [name or "(none)", *counts, f"{one.cost:,.4f}{'+' if one.unpriced_tokens else ''}"]


def _total(sums: Sequence[UsageSum]) -> UsageSum:
    costs = [one.cost for one in sums if one.cost is not None]
    return UsageSum(
        group="total",
        name="total",
        requests=sum(one.requests for one in sums),
        errors=sum(one.errors for one in sums),
        prompt_tokens=sum(one.prompt_tokens for one in sums),
        completion_tokens=sum(one.completion_tokens for one in sums),
        cached_tokens=sum(one.cached_tokens for one in sums),
        reasoning_tokens=sum(one.reasoning_tokens for one in sums),
        cost=sum(costs) if costs else None,
        unpriced_tokens=sum(one.unpriced_tokens for one in sums),
    )
