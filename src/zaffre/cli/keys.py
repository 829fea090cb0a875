"""`zaffre keys`: make, list, rotate and revoke keys. A running server sees it at once."""

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Literal, cast, get_args

import msgspec
import typer

from zaffre.auth.keybook import KeyFacts, NewKey
from zaffre.auth.keystore import KeyStore
from zaffre.core.calls import OPERATIONS, Operation
from zaffre.core.errors import InvalidParameter, ZaffreError
from zaffre.core.plan import Limits
from zaffre.core.principals import Grant, Permission
from zaffre.registry.store import default_home

Output = Literal["table", "json"]
_UNITS_S = {"m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"(\d{1,6})([mhd])")

app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys.")

Reference = Annotated[
    str, typer.Argument(help="A key's name or id, or ENDPOINT/primary or ENDPOINT/secondary.")
]
As = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]
Names = list[str] | None


@app.command()
def create(  # noqa: PLR0913, PLR0917 - one parameter per flag
    name: Annotated[str, typer.Argument(help="What lists, log and ledger call it.")],
    permission: Annotated[
        Names, typer.Option(help="call, admin or read_usage; repeatable. Default: call.")
    ] = None,
    endpoint: Annotated[
        Names, typer.Option(help="Only for this endpoint or root deployment; repeatable.")
    ] = None,
    model: Annotated[Names, typer.Option(help="Only for this model; repeatable.")] = None,
    operation: Annotated[
        Names, typer.Option(help=f"Only for {', '.join(OPERATIONS)}; repeatable.")
    ] = None,
    expires_in: Annotated[str | None, typer.Option(help="As 90d, 12h or 30m.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Its quota.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Its quota.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=1, help="Its budget.")] = None,
    tokens_per_month: Annotated[int | None, typer.Option(min=1, help="Its budget.")] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=1, help="At a time.")] = None,
    output: As = "table",
) -> None:
    """Make a key of the server, and show it this once."""
    limits = Limits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_requests=concurrent_requests,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
    )
    with _errors_told():
        grant = Grant(
            permissions=cast("frozenset[Permission]", _chosen(permission, get_args(Permission)))
            or frozenset({"call"}),
            endpoints=_lower(endpoint),
            models=_lower(model),
            operations=cast("frozenset[Operation] | None", _chosen(operation, OPERATIONS)),
            limits=None if limits == Limits() else limits,
        )
        expires_at = None if expires_in is None else int(time.time()) + _seconds(expires_in)
        _show_new(_store().create(name, grant, expires_at=expires_at), output)


@app.command("list")
def list_keys(output: As = "table") -> None:
    """List all keys: what they are for, and when each was last used. No key is shown."""
    with _errors_told():
        keys = _store().listed()
    if output == "json":
        _print_json(keys)
        return
    titles = ("name", "id", "ends in", "may", "only for", "made", "expires", "last used")
    rows = [titles, *map(_row, keys)]
    # One key is one line, however narrow the terminal, so that grep works.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


@app.command()
def rotate(key: Reference, output: As = "table") -> None:
    """Make another key in place of one, which ends at once, and show it this once."""
    with _errors_told():
        _show_new(_store().rotate(key), output)


@app.command()
def revoke(key: Reference, output: As = "table") -> None:
    """End a key, at once and for good."""
    with _errors_told():
        facts = _store().revoke(key)
    if output == "json":
        _print_json(facts)
    else:
        print(f"{facts.name}: revoked")


def _store() -> KeyStore:
    return KeyStore(default_home(os.environ))


def _show_new(made: NewKey, output: Output) -> None:
    if output == "json":
        _print_json({"key": made.key, **msgspec.to_builtins(made.facts)})
        return
    print(f"{made.facts.name}, shown only this once:\n\n    {made.key}\n")
    if made.facts.expires_at is not None:
        print(f"It expires at {_time(made.facts.expires_at)}.")


def _row(facts: KeyFacts) -> tuple[str, ...]:
    bounds = [
        f"{word}: {', '.join(names)}"
        for word, names in (
            ("endpoints", facts.endpoints),
            ("models", facts.models),
            ("operations", facts.operations),
        )
        if names is not None
    ]
    expires = "never" if facts.expires_at is None else _time(facts.expires_at)
    return (
        facts.name,
        facts.id,
        facts.ending,
        ", ".join(facts.permissions),
        "; ".join(bounds) or "everything",
        _time(facts.rotated_at or facts.created_at),
        "expired" if facts.expired else expires,
        "never" if facts.last_used_at is None else _time(facts.last_used_at),
    )


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration)
    if found is None or int(found[1]) == 0:
        raise InvalidParameter(("expires-in",), duration, "--expires-in: say 90d, 12h or 30m.")
    return int(found[1]) * _UNITS_S[found[2]]


def _lower(names: Names) -> frozenset[str] | None:
    return frozenset(name.lower() for name in names) if names else None


def _chosen(names: Names, known: Sequence[str]) -> frozenset[str] | None:
    for name in names or ():
        if name not in known:
            text = f"'{name}' is none of {', '.join(known)}."
            raise InvalidParameter((name,), name, text)
    return frozenset(names) if names else None


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except ZaffreError as trouble:
        print(trouble.message, file=sys.stderr)
        raise typer.Exit(1) from trouble
