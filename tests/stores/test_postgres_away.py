"""Postgres away: requests go on, and their rows arrive later, once."""

import asyncio

import asyncpg
import pytest
from usage_rows import make_row

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import UsageQuery
from zaffre.metering.ledger import SqliteLedger
from zaffre.metering.ledger_file import read_unshipped
from zaffre.metering.postgres import PostgresLedger


async def record(ledger, *names):
    rows = [make_row(name) for name in names]
    await asyncio.gather(*(ledger.close(ledger.open(row), row) for row in rows))


async def test_rows_wait_in_the_outbox(postgres, tmp_path):
    """Given rows written while Postgres is away, when it is back, then they are all there."""
    ledger = PostgresLedger(await postgres.make_database(), tmp_path / "usage.db")
    await record(ledger, "before")
    await ledger.ship()
    postgres.stop()
    written = 1
    try:
        async with asyncio.timeout(30):
            while not ledger.behind:
                await record(ledger, f"during-{written}")
                written += 1
        refused = ledger.problem
    finally:
        postgres.start()
    await ledger.ship()
    (found,) = await ledger.usage(UsageQuery("model"), {})
    await ledger.aclose()
    assert (refused, found.requests) == ("", written)


async def test_rows_shipped_twice_count_once(postgres, tmp_path):
    """Given rows that Postgres has and the gateway still holds, when shipped again, sums stay."""
    url, path = await postgres.make_database(), tmp_path / "usage.db"
    local = SqliteLedger(path, retention_days=None)
    await record(local, "a", "b")
    await local.aclose()
    before_shipping = path.read_bytes()
    first = PostgresLedger(url, path)
    await first.ship()
    await first.aclose()
    # As after a kill between Postgres's commit and the file's; and Postgres has rolled them up
    # and deleted them since, so that no key of a row is left that could conflict.
    path.write_bytes(before_shipping)
    connection = await asyncpg.connect(url)
    shipped = await connection.execute("DELETE FROM zaffre.usage_rows")
    await connection.close()
    again = PostgresLedger(url, path)
    waiting = read_unshipped(path, 0, 10)
    await again.ship()
    found = await again.usage(UsageQuery("model"), {})
    await again.aclose()
    assert (shipped, len(waiting), found) == ("DELETE 2", 2, [])


async def test_a_newer_database_is_not_touched(postgres, tmp_path):
    """Given tables of a newer version, when a gateway meets them, then it ships nothing there."""
    url = await postgres.make_database()
    first = PostgresLedger(url, tmp_path / "one.db")
    await record(first, "a")
    await first.ship()
    await first.aclose()
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE zaffre.ledger SET version = 999")
    await connection.close()
    second = PostgresLedger(url, tmp_path / "two.db")
    await record(second, "b")
    with pytest.raises(MeteringUnavailable, match="newer Zaffre"):
        await second.ship()
    await second.aclose()
