"""Quota accounts in Postgres, for gateways on several machines."""

import asyncio
from collections.abc import Sequence

import asyncpg

from zaffre.metering.shared_quota import Change, StoreAway, decode_account, encode_account

COMMAND_TIMEOUT_S = 5.0
SWEEP_EVERY = 1000
"""Changes between two looks for accounts that say nothing any more."""
_LOCK = 0x5AFF_0002
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS quota_accounts"
    " (name TEXT PRIMARY KEY, content BYTEA NOT NULL, expires_s DOUBLE PRECISION NOT NULL)"
)
# Made first where missing, so that there is a row to lock; in one order, so that nobody deadlocks.
_MAKE = (
    "INSERT INTO quota_accounts SELECT name, '', 'infinity' FROM unnest($1::text[]) AS name"
    " ORDER BY name ON CONFLICT DO NOTHING"
)
_LOAD = (
    "SELECT name, content FROM quota_accounts WHERE name = ANY($1::text[]) ORDER BY name FOR UPDATE"
)
_STORE = (
    "UPDATE quota_accounts SET content = new.content, expires_s = new.expires_s"
    " FROM unnest($1::text[], $2::bytea[], $3::float8[]) AS new (name, content, expires_s)"
    " WHERE quota_accounts.name = new.name"
)
_SWEEP = (
    "DELETE FROM quota_accounts WHERE name IN"
    " (SELECT name FROM quota_accounts WHERE expires_s < $1 FOR UPDATE SKIP LOCKED)"
)


class PostgresAccounts:
    """An `AccountStore` in the Postgres at `url`, in the schema `zaffre`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._changes = 0

    def change_now(self, names: Sequence[str], change: Change, now: float) -> bool:
        """Never: it is a round trip away; see `AccountStore`."""
        return False

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        """Change accounts in one transaction; see `AccountStore`."""
        try:
            pool = await self._connected()
            async with pool.acquire() as connection, connection.transaction():
                # What is counted is shares; the ledger has the truth.
                await connection.execute("SET LOCAL synchronous_commit = off")
                await self._change(connection, names, change)
            self._changes += 1
            if self._changes % SWEEP_EVERY == 0:
                await pool.execute(_SWEEP, now)
        except _AWAY as trouble:
            raise StoreAway(str(trouble)) from None

    async def aclose(self) -> None:
        """Let go of the connection."""
        if self._pool is not None:
            self._pool.terminate()

    async def _change(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        names: Sequence[str],
        change: Change,
    ) -> None:
        await connection.execute(_MAKE, names)
        rows = await connection.fetch(_LOAD, names)
        accounts = {row["name"]: decode_account(row["content"]) for row in rows if row["content"]}
        change(accounts)
        await connection.execute(
            _STORE,
            list(accounts),
            [encode_account(account) for account in accounts.values()],
            [account.expires_s for account in accounts.values()],
        )

    async def _connected(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            pool = await asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=1,
                command_timeout=COMMAND_TIMEOUT_S,
                timeout=COMMAND_TIMEOUT_S,
                server_settings={"search_path": "zaffre"},
            )
            try:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                    await connection.execute("CREATE SCHEMA IF NOT EXISTS zaffre")
                    await connection.execute(_TABLE)
            except (*_AWAY, asyncio.CancelledError):
                pool.terminate()
                raise
            self._pool = pool
        return self._pool
