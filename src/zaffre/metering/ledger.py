"""The ledger over SQLite: what ends is durable before its client is told, many at a time.

Three threads: the event loop's opens and closes; the recorder makes that durable in the journal;
the writer brings it into SQLite's tables later. Between any two of them is one queue.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from math import inf
from pathlib import Path

from msgspec import structs

from zaffre.core.errors import MeteringUnavailable, Overloaded
from zaffre.core.metering import PriceList, UsageQuery, UsageRow, UsageSum
from zaffre.metering.ledger_file import LedgerFile, read_unshipped, read_usage
from zaffre.metering.recorder import Closed, Opened, Progress, Recorder, Waiter
from zaffre.metering.writer import Writer

CAPACITY = 16_384
"""Requests that may be open at a time, or wait to be written."""
OPEN_DELAY_S = 0.02
"""How long a request may run before it is written as open: most end sooner and cost one row."""
CHECKPOINT_S = 1.0
"""How often tokens so far are written."""
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
        """Set when rows have come into the tables; whoever waits for that clears it."""
        self._entries = self._alive = 0
        self._ended = False
        self._young: dict[int, tuple[UsageRow, float]] = {}
        self._tokens: dict[int, int] = {}
        self._open_timer: asyncio.TimerHandle | None = None
        self._token_timer: asyncio.TimerHandle | None = None
        self._writer = Writer(file, self._tell_written, retention_days=retention_days, clock=clock)
        self._recorder = Recorder(file.journal, self._writer, self._tell)

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
        self._entries, self._alive = self._entries + 1, self._alive + 1
        # Most end before they are written: no thread hears of them until then.
        self._young[self._entries] = (row, self._loop.time() + OPEN_DELAY_S)
        if self._open_timer is None:
            self._open_timer = self._loop.call_later(OPEN_DELAY_S, self._write_open)
        return self._entries

    def checkpoint(self, entry: int, completion_tokens: int) -> None:
        """So many tokens so far; see `Ledger.checkpoint`."""
        self._tokens[entry] = completion_tokens
        if self._token_timer is None and not self._ended:
            self._token_timer = self._loop.call_later(CHECKPOINT_S, self._write_tokens)

    async def close(self, entry: int, row: UsageRow) -> None:
        """The request has ended, and that is durable; see `Ledger.close`."""
        self._refuse_after_end()
        self._young.pop(entry, None)
        self._tokens.pop(entry, None)
        waiter = self._loop.create_future()
        self._recorder.put(Closed(entry, row, waiter))
        await waiter

    async def usage(self, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
        """What was used, by group; see `Ledger.usage`."""
        return await asyncio.to_thread(read_usage, self._path, query, prices)

    async def catch_up(self) -> None:
        """Bring all that has ended into the tables. Raises `MeteringUnavailable`."""
        waiter = self._loop.create_future()
        self._writer.catch_up(waiter)
        await waiter

    async def unshipped(self, after: int, limit: int) -> list[tuple[object, ...]]:
        """The oldest rows after that number, each led by its own. Raises `sqlite3.Error`."""
        return await asyncio.to_thread(read_unshipped, self._path, after, limit)

    def forget(self, shipped: int) -> None:
        """Drop rows up to this number: they are somewhere safer."""
        self._writer.forget(shipped)

    async def aclose(self) -> None:
        """Write what waits, abort what is open, let go of the file. A second call does nothing."""
        if not self._ended:
            self._ended = True
            for timer in (self._open_timer, self._token_timer):
                if timer is not None:
                    timer.cancel()
            self._put_open(inf)
            self._put_tokens()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._recorder.end()
        self._writer.end()

    def _check(self) -> None:
        self._refuse_after_end()
        # The cause may name paths: it is for the operator, who reads it in `problem`.
        if self._writer.problem:
            raise MeteringUnavailable("The server cannot keep account of requests at present.")

    def _refuse_after_end(self) -> None:
        if self._ended:  # nobody would ever tell
            raise MeteringUnavailable("The server is ending.")

    def _write_open(self) -> None:
        now_s = self._loop.time()
        self._put_open(now_s)
        self._open_timer = None
        if self._young:
            _, due_s = next(iter(self._young.values()))
            # Not for each by itself: those that are due soon after go together.
            again_s = max(due_s, now_s + OPEN_DELAY_S / 4)
            self._open_timer = self._loop.call_at(again_s, self._write_open)

    def _put_open(self, until_s: float) -> None:
        due = list(takewhile(lambda young: young[1][1] <= until_s, self._young.items()))
        for entry, (row, _) in due:
            del self._young[entry]
            tokens = self._tokens.pop(entry, row.completion_tokens)
            self._recorder.put(Opened(entry, structs.replace(row, completion_tokens=tokens)))

    def _write_tokens(self) -> None:
        self._token_timer = None
        self._put_tokens()

    def _put_tokens(self) -> None:
        # Those of a request that is not written yet go with it.
        tokens = {e: count for e, count in self._tokens.items() if e not in self._young}
        self._tokens = {e: count for e, count in self._tokens.items() if e in self._young}
        if tokens:
            self._recorder.put(Progress(tokens))

    def _tell(self, waiters: list[Waiter], problem: str, safe: int) -> None:
        # From another thread. One wake-up of the loop for all; a loop that has ended has nobody
        # who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, waiters, problem, safe)

    def _tell_written(self, waiters: list[Waiter], problem: str, safe: int) -> None:
        self._tell(waiters, problem, safe)
        if not problem:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.grown.set)

    def _settle(self, waiters: list[Waiter], problem: str, safe: int) -> None:
        self._alive -= safe
        for waiter in waiters:
            if waiter.done():  # cancelled: its client has gone
                continue
            if problem:
                waiter.set_exception(
                    MeteringUnavailable("The server cannot keep account of requests at present.")
                )
            else:
                waiter.set_result(None)
