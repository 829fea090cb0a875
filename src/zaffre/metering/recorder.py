"""The ledger's recorder: a thread that makes whatever has happened durable, many events at a time.

What it has recorded it hands on to the writer, who brings the tables up to date later.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from msgspec import Struct

from zaffre.core.metering import UsageRow
from zaffre.metering.journal import Journal, Lot, Mark

EVENTS_AT_ONCE = 512
"""Most events of one record."""

Waiter = asyncio.Future[None]
Tell = Callable[[list[Waiter], str, int], None]
"""Told of what became durable: who waited for it, its trouble or "", and how many requests have
ended in it."""


class Opened(Struct, frozen=True):
    """A request runs long enough to be written as open."""

    entry: int
    row: UsageRow


class Progress(Struct, frozen=True):
    """Entries opened before, and their completion tokens so far."""

    tokens: dict[int, int]


class Closed(Struct, frozen=True):
    """A request has ended, and who waits until that is durable."""

    entry: int
    row: UsageRow
    waiter: Waiter


Event = Opened | Progress | Closed


class Tables(Protocol):
    """Who brings the tables up to date."""

    def take(self, lot: Lot, mark: Mark, waiters: list[Waiter] | None) -> None:
        """Take `lot`; the journal goes on at `mark`. With waiters it is not durable yet."""


class Recorder:
    """Takes events from one thread, and records them in its own.

    A lot that cannot be recorded goes to `tables` with those who wait for it. `tell` is called
    from the recorder's thread.
    """

    def __init__(self, journal: Journal, tables: Tables, tell: Tell) -> None:
        self._journal, self._tables, self._tell = journal, tables, tell
        # No lock or event of Python's: putting wakes the thread in one call to the system, and
        # waiting costs the interpreter lock once.
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger-journal", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Something has happened."""
        self._events.put(event)

    def end(self) -> None:
        """Record what has been put. Blocks until that is done. Nothing may be put after."""
        self._events.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            events = [self._events.get()]
            # Whatever came while the last record was on its way to the disk. We alone take away.
            more = min(self._events.qsize(), EVENTS_AT_ONCE - 1)
            events.extend(self._events.get_nowait() for _ in range(more))
            going = events[-1] is not None
            lot, waiters = _sort(events)
            if lot.opened or lot.tokens or lot.closed:
                self._record(lot, waiters)

    def _record(self, lot: Lot, waiters: list[Waiter]) -> None:
        try:
            self._journal.append(lot)
        except Exception:  # noqa: BLE001 - the fence: if this thread died, all would wait for ever
            self._tables.take(lot, self._journal.next, waiters)
            return
        # In this order: who has been told finds it in the tables after their next transaction.
        self._tables.take(lot, self._journal.next, None)
        if lot.closed:
            self._tell(waiters, "", len(lot.closed))


def _sort(events: list[Event | None]) -> tuple[Lot, list[Waiter]]:
    lot, waiters = Lot(), []
    for event in events:
        match event:
            case Opened(entry, row):
                lot.opened.append((entry, row))
            case Progress(tokens):
                lot.tokens.update(tokens)
            case Closed(entry, row, waiter):
                lot.closed.append((entry, row))
                waiters.append(waiter)
            case None:
                pass
    return lot, waiters
