"""The owner thread: runs pieces of many calls in common batches, in an order that is fair to all.

Every call holds a ticket with its pieces. The thread takes one piece from each waiting ticket in
turn, so that a small call next to a large one is done after a few batches; sorts what it took by
size, so that little padding is computed; and cuts it into batches of a bounded size. A cancelled
call's pieces are dropped before they are run.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zaffre.core.errors import EngineFailed, ModelUnavailable, ZaffreError

Array = NDArray[Any]
Vectors = NDArray[np.float32]

WINDOW_BATCHES = 2
"""Batches' worth of pieces that are taken and sorted together."""


class Tower(Protocol):
    """A network that turns pieces of one kind into vectors."""

    max_batch: int | None
    """Pieces per run, where the network fixes it."""

    def size(self, content: Array) -> int:
        """Tokens or patches of a piece: what it costs to run."""

    def run(self, contents: Sequence[Array]) -> Vectors:
        """One row per piece. Called by the owner thread only."""


class Piece:
    """One thing to run through a tower, and its place in the answer."""

    __slots__ = ("content", "index", "size", "ticket", "tower")

    def __init__(self, tower: Tower, content: Array, index: int, ticket: "_Ticket") -> None:
        self.tower, self.content, self.index, self.ticket = tower, content, index, ticket
        self.size = tower.size(content)


class _Ticket:
    """A call's pieces that are still to be run, and the answers so far."""

    def __init__(self, contents: Sequence[tuple[Tower, Array]]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[list[Vectors]] = self.loop.create_future()
        self.dropped = False
        self.waiting = deque(
            Piece(tower, content, index, self) for index, (tower, content) in enumerate(contents)
        )
        self._results: list[Vectors | None] = [None] * len(contents)
        self._missing = len(contents)

    def deliver(self, piece: Piece, vector: Vectors) -> None:
        self._results[piece.index] = vector
        self._missing -= 1
        if self._missing == 0:
            results = [result for result in self._results if result is not None]
            self._tell(lambda: self.future.set_result(results))

    def fail(self, error: ZaffreError) -> None:
        self.dropped = True
        self._tell(lambda: self.future.set_exception(error))

    def _tell(self, settle: Callable[[], None]) -> None:
        def settle_once() -> None:
            if not self.future.done():
                settle()

        # A closed loop: nobody waits any more.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(settle_once)


class Batcher:
    """Runs towers in one thread of its own, for the tasks of one event loop."""

    def __init__(self, model: str, max_batch_size: int) -> None:
        """`max_batch_size` bounds the padded size of a batch; a larger piece runs alone."""
        self._model = model
        self._max_batch_size = max_batch_size
        self._changed = threading.Condition()
        self._tickets: deque[_Ticket] = deque()
        self._running: frozenset[_Ticket] = frozenset()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"onnx {model}", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """Calls with a piece in the batch that is being run."""
        return sum(not ticket.dropped for ticket in self._running)

    async def run(self, contents: Sequence[tuple[Tower, Array]]) -> list[Vectors]:
        """One vector for each content, in order; cancelling drops what has not been run.

        Raises `EngineFailed` when the network fails and `ModelUnavailable` after `aclose`.
        """
        if not contents:
            return []
        ticket = _Ticket(contents)
        with self._changed:
            if self._closed:
                raise self._stopped()
            self._tickets.append(ticket)
            self._changed.notify()
        try:
            return await ticket.future
        finally:
            ticket.dropped = True

    async def aclose(self) -> None:
        """Refuse what comes, let the running batch end, refuse what waits, end the thread."""
        with self._changed:
            self._closed = True
            tickets = [*self._tickets, *self._running]
            self._tickets.clear()
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        for ticket in tickets:
            ticket.fail(self._stopped())

    def _work(self) -> None:
        while (window := self._next_window()) is not None:
            for batch in self._batches(window):
                self._run(batch)

    def _next_window(self) -> list[Piece] | None:
        with self._changed:
            self._running = frozenset()
            while True:
                window = self._take()
                if window or self._closed:
                    return window or None
                self._changed.wait()

    def _take(self) -> list[Piece]:
        """One piece of each ticket in turn, all for one tower, until the window is full."""
        window: list[Piece] = []
        room = WINDOW_BATCHES * self._max_batch_size
        passed_over = 0
        while self._tickets and room > 0 and passed_over < len(self._tickets):
            ticket = self._tickets.popleft()
            if ticket.dropped or not ticket.waiting:
                continue
            piece = ticket.waiting[0]
            if window and piece.tower is not window[0].tower:
                passed_over += 1
            else:
                passed_over = 0
                window.append(ticket.waiting.popleft())
                room -= piece.size
            self._tickets.append(ticket)
        return window

    def _batches(self, window: list[Piece]) -> list[list[Piece]]:
        batches: list[list[Piece]] = []
        for piece in sorted(window, key=lambda piece: piece.size):
            # Sorted: this piece is the largest so far, and all are padded to its size.
            last = batches[-1] if batches else []
            fits = (len(last) + 1) * piece.size <= self._max_batch_size
            limit = piece.tower.max_batch
            if last and fits and (limit is None or len(last) < limit):
                last.append(piece)
            else:
                batches.append([piece])
        return batches

    def _run(self, batch: list[Piece]) -> None:
        pieces = [piece for piece in batch if not piece.ticket.dropped]
        if not pieces:
            return
        self._running = frozenset(piece.ticket for piece in pieces)
        try:
            vectors = pieces[0].tower.run([piece.content for piece in pieces])
        # The fence between the network's library, which raises what it likes, and the calls.
        except Exception as trouble:  # noqa: BLE001
            self._run_apart(pieces, trouble)
            return
        for piece, vector in zip(pieces, vectors, strict=True):
            piece.ticket.deliver(piece, vector)

    def _run_apart(self, pieces: list[Piece], trouble: Exception) -> None:
        """After a failure, find out whose piece it was: nobody else's call should fail with it."""
        if len(self._running) == 1:
            error = EngineFailed(f"{self._model} failed on this request: {trouble}")
            error.__cause__ = trouble
            pieces[0].ticket.fail(error)
            return
        for ticket in self._running:
            self._run([piece for piece in pieces if piece.ticket is ticket])

    def _stopped(self) -> ModelUnavailable:
        return ModelUnavailable(f"{self._model} is stopping.")
