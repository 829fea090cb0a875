"""Ledger rows for the tests."""

from typing import Any

from msgspec import structs

from zaffre.core.metering import UsageRow

TODAY = 20_717
"""The day that the tests' ledgers think it is, since 1970: 2026-09-21."""
DAY_MS = 86_400_000

_ROW = UsageRow(
    id="",
    started_ms=TODAY * DAY_MS + 1_000,
    principal_id="key-1",
    principal_name="first",
    endpoint="east",
    deployment="small",
    model="echo",
    operation="chat",
    dialect="azure-inference",
    prompt_tokens=12,
    completion_tokens=30,
    latency_ms=210,
    first_token_ms=40,
    finish="stop",
    status=200,
    bytes_in=300,
    bytes_out=900,
    stream=True,
)


def make_row(name: str, **fields: Any) -> UsageRow:
    """The row of a request called `name`: an answered chat, but for `fields`."""
    return structs.replace(_ROW, id=name, **fields)
