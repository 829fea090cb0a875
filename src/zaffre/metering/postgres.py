"""The ledger for several gateways: each writes its own file first, and ships it to one Postgres.

So a request waits for the local disk alone, and Postgres may be away for as long as the disk lasts.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import PriceList, UsageQuery, UsageRow, UsageSum
from zaffre.metering.ledger import RETENTION_DAYS, SqliteLedger
from zaffre.metering.migrations import COLUMNS, POSTGRES
from zaffre.metering.sums import DAY_MS, PartialSum, add_up, question, roll_up_of

SHIP_ROWS = 1000
"""Rows in one transaction."""
SHIP_PAUSE_S = 0.2
"""Between two transactions when little waits, so that rows travel together."""
RETRY_S = 2.0
"""Between two tries while Postgres is away."""
LAST_TRY_S = 5.0
"""How long the end of the server waits for Postgres; what is left is shipped at the next start."""
ROLL_UP_S = 3600.0
COMMAND_TIMEOUT_S = 30.0
_MIGRATION_LOCK = 0x5AFF_0001
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_NAMES = ", ".join(COLUMNS)
_MARKS = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 3))
# All of these are made of constants.
_SHIP = (
    f"INSERT INTO usage_rows (gateway, seq, {_NAMES}) VALUES ({_MARKS})"  # noqa: S608
    " ON CONFLICT DO NOTHING"
)
_ROLL_UP = (
    "WITH gone AS (DELETE FROM usage_rows WHERE (gateway, seq) IN ("  # noqa: S608
    "SELECT gateway, seq FROM usage_rows WHERE started_ms < $1"
    f" ORDER BY started_ms LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING *) "
    f"{roll_up_of('SELECT * FROM gone')}"
)
log = logging.getLogger("zaffre.metering")


class PostgresLedger:
    """A `zaffre.core.metering.Ledger` whose file `outbox` is emptied into the Postgres at `url`.

    Made inside the event loop that uses it. The tables live in the schema `zaffre`, which is made
    at the first connection. Raises `MeteringUnavailable` when the outbox cannot be opened.
    """

    def __init__(
        self,
        url: str,
        outbox: Path,
        *,
        retention_days: int | None = RETENTION_DAYS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._retention_days, self._clock = url, retention_days, clock
        self._outbox = SqliteLedger(outbox, retention_days=None, clock=clock)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connecting = asyncio.Lock()
        self._shipping = asyncio.Lock()
        self._shipped = 0
        self._roll_up_due_s = 0.0
        self.behind = ""
        """Why rows wait in the outbox; empty while they flow."""
        self._shipper = asyncio.get_running_loop().create_task(self._run())

    @property
    def problem(self) -> str:
        """Why requests are refused at present: the outbox's trouble, never Postgres's."""
        return self._outbox.problem

    def open(self, row: UsageRow) -> int:
        """A request begins; see `Ledger.open`."""
        return self._outbox.open(row)

    def checkpoint(self, entry: int, completion_tokens: int) -> None:
        """So many tokens so far; see `Ledger.checkpoint`."""
        self._outbox.checkpoint(entry, completion_tokens)

    async def close(self, entry: int, row: UsageRow) -> None:
        """The request has ended, and that is durable on this machine; see `Ledger.close`."""
        await self._outbox.close(entry, row)

    async def usage(self, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
        """What all gateways have shipped, by group; see `Ledger.usage`."""
        try:
            return await _ask(await self._connected(), query, prices)
        except _AWAY as trouble:
            raise MeteringUnavailable(f"The ledger's database is away: {trouble}.") from None

    async def ship(self) -> None:
        """Ship all that waits. Raises what asyncpg raises when Postgres is away, and
        `MeteringUnavailable`."""
        await self._outbox.catch_up()
        while await self._ship_some():
            pass

    async def roll_up(self) -> None:
        """Turn rows older than the retention into sums per day. Raises as `ship`."""
        if self._retention_days is None:
            return
        pool = await self._connected()
        today = int(self._clock() * 1000) // DAY_MS
        before_ms = (today - self._retention_days) * DAY_MS
        while await pool.execute(_ROLL_UP, before_ms, SHIP_ROWS) != "INSERT 0 0":
            pass

    async def aclose(self) -> None:
        """Write and ship what waits, let go of file and connections."""
        self._shipper.cancel()
        with suppress(asyncio.CancelledError):
            await self._shipper
        with suppress(*_AWAY, sqlite3.Error, MeteringUnavailable):  # it is safe in the outbox
            await asyncio.wait_for(self.ship(), LAST_TRY_S)
        await self._outbox.aclose()
        if self._pool is not None:
            self._pool.terminate()

    async def _run(self) -> None:
        while True:
            self._outbox.grown.clear()
            try:
                count = await self._ship_some()
                await self._roll_up_when_due()
            except Exception as trouble:  # noqa: BLE001 - the fence: rows have to flow again by themselves
                if not self.behind:
                    log.warning("Usage waits in the outbox: %s", trouble)
                self.behind = str(trouble) or type(trouble).__name__
                await asyncio.sleep(RETRY_S)
                continue
            self.behind = ""
            if count == 0:
                await self._outbox.grown.wait()
            if count < SHIP_ROWS:
                await asyncio.sleep(SHIP_PAUSE_S)

    async def _roll_up_when_due(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._roll_up_due_s:
            await self.roll_up()
            self._roll_up_due_s = now_s + ROLL_UP_S

    async def _ship_some(self) -> int:
        async with self._shipping:
            rows = await self._outbox.unshipped(self._shipped, SHIP_ROWS)
            if not rows:
                return 0
            pool = await self._connected()
            async with pool.acquire() as connection, connection.transaction():
                await self._insert(connection, rows)
            self._shipped = int(str(rows[-1][0]))
            self._outbox.forget(self._shipped)
            return len(rows)

    async def _insert(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        rows: Sequence[tuple[object, ...]],
    ) -> None:
        """Insert what this gateway has not shipped before, though it may have forgotten that."""
        gateway = self._outbox.gateway
        await connection.execute(
            "INSERT INTO gateways VALUES ($1, 0) ON CONFLICT DO NOTHING", gateway
        )
        safe = await connection.fetchval(
            "SELECT shipped FROM gateways WHERE gateway = $1 FOR UPDATE", gateway
        )
        new = [
            (gateway, *row[:-2], bool(row[-2]), bool(row[-1]))
            for row in rows
            if int(str(row[0])) > safe
        ]
        await connection.executemany(_SHIP, new)
        await connection.execute(
            "UPDATE gateways SET shipped = greatest(shipped, $2) WHERE gateway = $1",
            gateway,
            rows[-1][0],
        )

    async def _connected(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._connecting:
            if self._pool is None:
                pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=2,
                    command_timeout=COMMAND_TIMEOUT_S,
                    server_settings={"search_path": "zaffre"},
                )
                try:
                    await _migrate(pool)
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool
            return self._pool


async def read_shared_usage(url: str, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
    """What all gateways have shipped to the Postgres at `url`. Raises `MeteringUnavailable`."""
    try:
        connection = await asyncpg.connect(
            url, timeout=COMMAND_TIMEOUT_S, server_settings={"search_path": "zaffre"}
        )
        try:
            return await _ask(connection, query, prices)
        finally:
            connection.terminate()
    except _AWAY as trouble:
        raise MeteringUnavailable(f"The ledger's database cannot be read: {trouble}.") from None


async def _ask(
    database: "asyncpg.Pool[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]",
    query: UsageQuery,
    prices: PriceList,
) -> list[UsageSum]:
    first = query.since_day
    rows = await database.fetch(
        question(query.by), first, first * DAY_MS, query.mirrored, query.principal_id
    )
    return add_up((PartialSum(*row) for row in rows), query, prices)


async def _migrate(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Bring the tables to today's form; gateways that start together take turns."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute("CREATE SCHEMA IF NOT EXISTS zaffre")
        await connection.execute("CREATE TABLE IF NOT EXISTS ledger (version INT NOT NULL)")
        version = await connection.fetchval("SELECT max(version) FROM ledger") or 0
        if version > len(POSTGRES):
            raise MeteringUnavailable(
                f"The database was made by a newer Zaffre (form {version}; this one knows"
                f" {len(POSTGRES)})."
            )
        for number, statements in enumerate(POSTGRES[version:], version + 1):
            for statement in statements:
                await connection.execute(statement)
            await connection.execute("INSERT INTO ledger VALUES ($1)", number)
