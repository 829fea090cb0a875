"""The ledger's writer: a thread that brings the tables up to date, a few times a second."""

import sqlite3
import threading
import time
from collections.abc import Callable
from math import inf

from zaffre.core.errors import MeteringUnavailable
from zaffre.metering.books import Batch, Books
from zaffre.metering.journal import Lot, Mark
from zaffre.metering.ledger_file import LedgerFile
from zaffre.metering.recorder import Tell, Waiter
from zaffre.metering.sums import DAY_MS

WRITE_S = 0.25
"""How long what is in the journal may wait for its place in the tables."""
RETRY_S = 1.0
"""How often a ledger that could not be written is tried again."""
ROLL_UP_S = 3600.0
"""How often rows are looked for that are old enough to be rolled up."""
ROLL_UP_ROWS = 1000
"""Rows in one transaction of a roll-up: what a request that ends in the meantime waits for."""


class Writer:
    """Takes lots from other threads, and writes them in its own.

    `tell` is called from the writer's thread, after each transaction. Lots of a transaction that
    failed are kept and tried again.
    """

    def __init__(
        self,
        file: LedgerFile,
        tell: Tell,
        *,
        retention_days: int | None,
        clock: Callable[[], float],
    ) -> None:
        self._file, self._tell, self._clock = file, tell, clock
        self._retention_days = retention_days
        self.problem = ""
        # Between the threads, under the lock:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._lots: list[tuple[Lot, Mark]] = []
        self._waiters: list[Waiter] = []
        self._unsafe = 0
        self._shipped = 0
        self._due_s = inf
        self._ending = False
        # The writer's own:
        self._books = Books()
        self._owed = 0
        self._kept_shipped = 0
        self._roll_up_due_s = 0.0 if retention_days is not None else inf
        self._thread = threading.Thread(target=self._run, name="ledger-tables", daemon=True)
        self._thread.start()

    def take(self, lot: Lot, mark: Mark, waiters: list[Waiter] | None) -> None:
        """Take `lot`; the journal goes on at `mark`. With waiters it is not durable yet."""
        with self._lock:
            self._lots.append((lot, mark))
            if waiters is not None:
                self._waiters.extend(waiters)
                self._unsafe += len(lot.closed)
            hurry = waiters is not None or self._file.journal.crowded
            self._expect(0.0 if hurry else WRITE_S)

    def forget(self, shipped: int) -> None:
        """Rows up to this number are somewhere safer."""
        with self._lock:
            self._shipped = max(self._shipped, shipped)
            self._expect(WRITE_S)

    def catch_up(self, waiter: Waiter) -> None:
        """Write all that has been taken, and tell `waiter`. Raises `MeteringUnavailable`."""
        with self._lock:
            if self._ending:  # nobody would ever tell
                raise MeteringUnavailable("The server is ending.")
            self._waiters.append(waiter)
            self._expect(0.0)

    def end(self) -> None:
        """Write what waits, abort what is open, close the file. Blocks until that is done."""
        with self._lock:
            self._ending = True
            self._expect(0.0)
        self._thread.join()

    def _expect(self, within_s: float) -> None:
        """Under the lock: there is something to do. Wakes nobody who wakes soon enough."""
        if self._due_s == inf or within_s == 0.0:
            self._wake.set()
        self._due_s = min(self._due_s, time.monotonic() + within_s)

    def _run(self) -> None:
        while True:
            self._sleep()
            waiters, ending = self._take()
            now_s = time.monotonic()
            done = self._commit(waiters, now_s)
            if ending:
                self._finish(clean=done)
                return
            if done and now_s >= self._roll_up_due_s:
                self._roll_up(now_s)

    def _sleep(self) -> None:
        while True:
            with self._lock:
                left_s = min(self._due_s, self._roll_up_due_s) - time.monotonic()
            if left_s <= 0:
                return
            self._wake.wait(None if left_s == inf else left_s)
            self._wake.clear()

    def _take(self) -> tuple[list[Waiter], bool]:
        with self._lock:
            lots, self._lots = self._lots, []
            waiters, self._waiters = self._waiters, []
            self._owed, self._unsafe = self._owed + self._unsafe, 0
            self._kept_shipped = max(self._kept_shipped, self._shipped)
            self._shipped, self._due_s, ending = 0, inf, self._ending
        for lot, mark in lots:
            self._books.add(lot, mark)
        return waiters, ending

    def _commit(self, waiters: list[Waiter], now_s: float) -> bool:
        batch = self._books.batch(shipped=self._kept_shipped, probe=bool(self.problem))
        try:
            if batch:
                self._file.commit(batch)
        except Exception as trouble:  # noqa: BLE001 - the fence: if this thread died, all would wait for ever
            self._try_again(trouble, now_s)
            self._tell(waiters, self.problem, 0)
            return False
        self.problem = ""
        self._note(batch)
        owed, self._owed = self._owed, 0
        if waiters or batch.closed:
            self._tell(waiters, "", owed)
        return True

    def _note(self, batch: Batch) -> None:
        """Keep the books after a transaction that holds."""
        self._books.settle()
        if batch.mark is not None:
            self._file.journal.release(batch.mark)
        self._kept_shipped = 0

    def _try_again(self, trouble: Exception, now_s: float) -> None:
        self.problem = f"{type(trouble).__name__}: {trouble}"
        again_s = now_s + RETRY_S
        self._roll_up_due_s = max(self._roll_up_due_s, again_s)
        with self._lock:
            self._due_s = min(self._due_s, again_s)

    def _roll_up(self, now_s: float) -> None:
        if self._retention_days is None:
            return
        today = int(self._clock() * 1000) // DAY_MS
        before_ms = (today - self._retention_days) * DAY_MS
        try:
            moved = self._file.roll_up(before_ms, ROLL_UP_ROWS)
        except sqlite3.Error as trouble:
            self._try_again(trouble, now_s)
            return
        if moved < ROLL_UP_ROWS:  # else the next lot, after whoever waits by then
            self._roll_up_due_s = now_s + ROLL_UP_S

    def _finish(self, *, clean: bool) -> None:
        try:
            if clean:
                self._file.abort_open()
        except sqlite3.Error as trouble:  # they stay open, and the next start aborts them
            self.problem = str(trouble)
        finally:
            self._file.close()
