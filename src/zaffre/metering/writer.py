"""The ledger's one writer: a thread that turns whatever waits into one durable transaction."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import UsageRow
from zaffre.metering.ledger_file import Batch, LedgerFile
from zaffre.metering.sums import DAY_MS

OPEN_DELAY_S = 0.02
"""How long a request may run before it is written as open: most end sooner and cost one row."""
CHECKPOINT_S = 1.0
"""How often tokens so far are written."""
RETRY_S = 1.0
"""How often a ledger that could not be written is tried again."""
ROLL_UP_S = 3600.0
"""How often rows are looked for that are old enough to be rolled up."""
ROLL_UP_ROWS = 1000
"""Rows in one transaction of a roll-up: what a request that ends in the meantime waits for."""


Waiter = asyncio.Future[None]
Tell = Callable[[list[Waiter], str, int], None]
"""Told of a transaction: who waited for it, its trouble or "", and how many rows are safe now."""


class Closing(Struct, eq=False):
    """A request that has ended, and who waits until that is durable."""

    entry: int
    row: UsageRow
    waiter: Waiter | None


class _Opening(Struct, eq=False):
    row: UsageRow
    due_s: float


class Writer:
    """Takes openings, checkpoints and closings from one thread, and writes them in its own.

    `tell` is called from the writer's thread, once per transaction. Rows of a transaction that
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
        self._asleep = False
        self._opened: list[tuple[int, UsageRow]] = []
        self._closed: list[Closing] = []
        self._tokens: dict[int, int] = {}
        self._shipped = 0
        self._ending = False
        # The writer's own:
        self._waiting: dict[int, _Opening] = {}
        self._written: set[int] = set()
        self._unwritten: list[Closing] = []
        self._kept: dict[int, int] = {}
        self._kept_shipped = 0
        self._checkpoint_due_s = 0.0
        self._roll_up_due_s = 0.0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def open(self, entry: int, row: UsageRow) -> None:
        """A request begins. Raises `MeteringUnavailable` after the end."""
        with self._lock:
            self._refuse_after_end()
            self._opened.append((entry, row))
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._wake.set()

    def checkpoint(self, entry: int, tokens: int) -> None:
        """A request has so many tokens."""
        with self._lock:
            self._tokens[entry] = tokens

    def close(self, closing: Closing) -> None:
        """A request has ended. Raises `MeteringUnavailable` after the end."""
        with self._lock:
            self._refuse_after_end()
            self._closed.append(closing)
        self._wake.set()

    def forget(self, shipped: int) -> None:
        """Rows up to this number are somewhere safer."""
        with self._lock:
            self._shipped = max(self._shipped, shipped)
        self._wake.set()

    def end(self) -> None:
        """Write what waits, abort what is open, close the file. Blocks until that is done."""
        with self._lock:
            self._ending = True
        self._wake.set()
        self._thread.join()

    def _refuse_after_end(self) -> None:
        if self._ending:  # nobody would ever tell
            raise MeteringUnavailable("The server is ending.")

    def _run(self) -> None:
        while True:
            self._wake.wait(self._patience_s())
            self._wake.clear()
            ending = self._take()
            now_s = time.monotonic()
            batch = self._batch(now_s, ending=ending)
            done = self._commit(batch) if batch else True
            if ending:
                self._finish(clean=done)
                return
            if done and now_s >= self._roll_up_due_s:
                self._roll_up(now_s)

    def _patience_s(self) -> float | None:
        """How long there is nothing to do unless somebody wakes us."""
        with self._lock:
            if self._opened or self._closed or self._ending:
                return 0.0
            if self._unwritten or self.problem:
                return RETRY_S
            if self._waiting:
                return OPEN_DELAY_S
            if self._written:
                return CHECKPOINT_S
            self._asleep = True
            if self._retention_days is None:
                return None
            return max(0.0, self._roll_up_due_s - time.monotonic())

    def _take(self) -> bool:
        with self._lock:
            opened, self._opened = self._opened, []
            closed, self._closed = self._closed, []
            tokens, self._tokens = self._tokens, {}
            self._kept_shipped = max(self._kept_shipped, self._shipped)
            self._shipped, self._asleep, ending = 0, False, self._ending
        due_s = time.monotonic() + OPEN_DELAY_S
        for entry, row in opened:
            self._waiting[entry] = _Opening(row, due_s)
        self._kept.update(tokens)
        self._unwritten.extend(closed)
        return ending

    def _batch(self, now_s: float, *, ending: bool) -> Batch:
        """All that is due. Nothing is taken out of the books before it is durable."""
        gone = {closing.entry for closing in self._unwritten}
        opened = [
            (entry, opening.row)
            for entry, opening in self._waiting.items()
            if (ending or opening.due_s <= now_s) and entry not in gone
        ]
        tokens = {}
        if ending or now_s >= self._checkpoint_due_s:
            # A request that is opened now is written with its tokens by the statement after.
            there = self._written.union(entry for entry, _ in opened) - gone
            tokens = {entry: count for entry, count in self._kept.items() if entry in there}
            there.update(self._waiting)  # what is left speaks of requests that have ended
            self._kept = {entry: count for entry, count in self._kept.items() if entry in there}
        return Batch(
            closed=[closing.row for closing in self._unwritten],
            ended=[entry for entry in gone if entry in self._written],
            opened=opened,
            tokens=tokens,
            shipped=self._kept_shipped,
            probe=bool(self.problem),
        )

    def _commit(self, batch: Batch) -> bool:
        try:
            self._file.commit(batch)
        except Exception as trouble:  # noqa: BLE001 - the fence: if this thread died, all would wait for ever
            self._refuse(f"{type(trouble).__name__}: {trouble}")
            return False
        self.problem = ""
        self._note(batch)
        closings, self._unwritten = self._unwritten, []
        for closing in closings:
            self._waiting.pop(closing.entry, None)
            self._kept.pop(closing.entry, None)
        if closings:
            self._tell(_waiters(closings), "", len(closings))
        return True

    def _note(self, batch: Batch) -> None:
        """Keep the books after a transaction that holds."""
        self._written.difference_update(batch.ended)
        for entry, _ in batch.opened:
            del self._waiting[entry]
            self._written.add(entry)
        for entry in batch.tokens:
            del self._kept[entry]
        if batch.tokens:
            self._checkpoint_due_s = time.monotonic() + CHECKPOINT_S
        self._kept_shipped = 0

    def _refuse(self, problem: str) -> None:
        """Tell those who wait; their rows stay, and nobody is told a second time."""
        self.problem = problem
        self._tell(_waiters(self._unwritten), problem, 0)
        for closing in self._unwritten:
            closing.waiter = None

    def _roll_up(self, now_s: float) -> None:
        if self._retention_days is None:
            return
        today = int(self._clock() * 1000) // DAY_MS
        before_ms = (today - self._retention_days) * DAY_MS
        try:
            moved = self._file.roll_up(before_ms, ROLL_UP_ROWS)
        except sqlite3.Error as trouble:
            self.problem = f"{type(trouble).__name__}: {trouble}"
            moved = 0
        if moved < ROLL_UP_ROWS:
            self._roll_up_due_s = now_s + ROLL_UP_S
        else:
            self._wake.set()  # the next lot, after whoever waits by then

    def _finish(self, *, clean: bool) -> None:
        try:
            if clean:
                self._file.abort_open()
        except sqlite3.Error as trouble:  # they stay open, and the next start aborts them
            self.problem = str(trouble)
        finally:
            self._file.close()


def _waiters(closings: list[Closing]) -> list[Waiter]:
    return [closing.waiter for closing in closings if closing.waiter is not None]
