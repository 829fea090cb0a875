"""The ledger over SQLite: what ends is durable before its client is told, many at a time."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from zaffre.core.errors import MeteringUnavailable, Overloaded
from zaffre.core.metering import PriceList, UsageQuery, UsageRow, UsageSum
from zaffre.metering.ledger_file import LedgerFile, read_unshipped, read_usage
from zaffre.metering.writer import Closing, Waiter, Writer

CAPACITY = 16_384
"""Requests that may be open at a time, or wait to be written."""
RETENTION_DAYS = 90
"""Whole days before today that keep one row per request; older ones are sums per day."""


class SqliteLedger:
    """A `zaffre.core.metering.Ledger` in the SQLite file `path`.

    Made inside the event loop that uses it. Several gateways may use one file.
    `retention_days=None` leaves all rows as they are. Raises `MeteringUnavailable`.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention_days: int | None = RETENTION_DAYS,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._capacity = path, capacity
        self._loop = asyncio.get_running_loop()
        file = LedgerFile(path)
        self.gateway = file.gateway
        """Who this file's rows are from, to a database that several gateways share."""
        self.grown = asyncio.Event()
        """Set when rows have become durable; whoever waits for that clears it."""
        self._entries = self._alive = 0
        self._writer = Writer(file, self._tell, retention_days=retention_days, clock=clock)

    @property
    def problem(self) -> str:
        """Why requests are refused at present, in a sentence; empty when all is well."""
        trouble = self._writer.problem
        return f"The ledger cannot be written ({trouble})." if trouble else ""

    def open(self, row: UsageRow) -> int:
        """A request begins; see `Ledger.open`."""
        self._check()
        if self._alive >= self._capacity:
            raise Overloaded("Too many requests are open at a time.")
        entry = self._entries + 1
        self._writer.open(entry, row)
        self._entries, self._alive = entry, self._alive + 1
        return entry

    def checkpoint(self, entry: int, completion_tokens: int) -> None:
        """So many tokens so far; see `Ledger.checkpoint`."""
        self._writer.checkpoint(entry, completion_tokens)

    async def close(self, entry: int, row: UsageRow) -> None:
        """The request has ended, and that is durable; see `Ledger.close`."""
        waiter = self._loop.create_future()
        self._writer.close(Closing(entry, row, waiter))
        await waiter

    async def usage(self, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
        """What was used, by group; see `Ledger.usage`."""
        return await asyncio.to_thread(read_usage, self._path, query, prices)

    async def unshipped(self, after: int, limit: int) -> list[tuple[object, ...]]:
        """The oldest rows after that number, each led by its own. Raises `sqlite3.Error`."""
        return await asyncio.to_thread(read_unshipped, self._path, after, limit)

    def forget(self, shipped: int) -> None:
        """Drop rows up to this number: they are somewhere safer."""
        self._writer.forget(shipped)

    async def aclose(self) -> None:
        """Write what waits, abort what is open, let go of the file. A second call does nothing."""
        await asyncio.to_thread(self._writer.end)

    def _check(self) -> None:
        # The cause may name paths: it is for the operator, who reads it in `problem`.
        if self._writer.problem:
            raise MeteringUnavailable("The server cannot keep account of requests at present.")

    def _tell(self, waiters: list[Waiter], problem: str, safe: int) -> None:
        # From the writer's thread. One wake-up of the loop for all; a loop that has ended has
        # nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, waiters, problem, safe)

    def _settle(self, waiters: list[Waiter], problem: str, safe: int) -> None:
        self._alive -= safe
        if safe:
            self.grown.set()
        for waiter in waiters:
            if waiter.done():  # cancelled: its client has gone
                continue
            if problem:
                waiter.set_exception(
                    MeteringUnavailable("The server cannot keep account of requests at present.")
                )
            else:
                waiter.set_result(None)
