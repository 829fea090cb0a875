"""One upstream of a pool: its client, its load, and how it is judged."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Protocol, Self, TypeVar

from msgspec import Struct

from zaffre.core.calls import GenerationCall
from zaffre.core.client import ModelClient
from zaffre.core.deltas import Batches, Delta, Usage
from zaffre.core.errors import (
    EngineFailed,
    ModelTimeout,
    ModelUnavailable,
    Overloaded,
    ZaffreError,
)
from zaffre.core.plan import Upstream
from zaffre.upstream.foreign.capabilities import Probed
from zaffre.upstream.watch import Watch

FAILURES = (EngineFailed, ModelTimeout, ModelUnavailable, Overloaded)
"""The upstream's fault, or its operator's: another may do better. Everything else is the call's."""
T = TypeVar("T")


class ForeignServer(ModelClient, Protocol):
    """What a pool needs of a client."""

    @property
    def place(self) -> str:
        """Where the server is, without anything secret."""

    async def probe(self) -> Probed:
        """Ask the server what its model is."""

    async def aclose(self) -> None:
        """Close all connections."""


class UpstreamStatus(Struct, frozen=True):
    """What operators see of one upstream. Nothing in it is secret."""

    url: str
    dialect: str
    model: str
    priority: int
    weight: int
    state: str
    """`ready`, `ejected`, `waiting` (as it asked with `Retry-After`), or `probing`."""
    calls: int
    """Under way now."""
    max_calls: int
    total_calls: int
    total_failures: int
    consecutive_failures: int
    out_for_s: float
    """Seconds until it may be asked again; 0 when it may be now."""
    estimated_answers: int
    """Answers whose tokens the server did not count."""
    cause: str
    """Of the last failure; empty once an answer has come whole."""


class Member:
    """One upstream of a pool."""

    def __init__(self, upstream: Upstream, client: ForeignServer, watch: Watch) -> None:
        self.upstream = upstream
        self.client = client
        self.watch = watch
        self.calls = 0
        self.total_calls = 0
        self.total_failures = 0
        self.estimated = 0

    @property
    def full(self) -> bool:
        """Whether one more call would be too many."""
        return self.calls >= self.upstream.max_calls

    @property
    def load(self) -> float:
        """Calls under way, for its weight."""
        return self.calls / self.upstream.weight

    async def generate(self, start: Callable[[ModelClient], Batches]) -> Batches:
        """The deltas of a generation here."""
        with self.visited() as visit:
            async with aclosing(start(self.client)) as batches:
                async for batch in batches:
                    visit.note(batch)
                    yield batch

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """All deltas of a generation here."""
        with self.visited() as visit:
            deltas = await self.client.answer(call)
            visit.note(deltas)
            return deltas

    async def fetch(self, start: Callable[[ModelClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call here that has one piece."""
        with self.visited() as visit:
            result = await start(self.client)
            visit.whole = True
            return result

    def status(self, model: str) -> UpstreamStatus:
        """How it is doing."""
        return UpstreamStatus(
            url=self.client.place,
            dialect=self.upstream.dialect,
            model=self.upstream.model or model,
            priority=self.upstream.priority,
            weight=self.upstream.weight,
            state=self.watch.state,
            calls=self.calls,
            max_calls=self.upstream.max_calls,
            total_calls=self.total_calls,
            total_failures=self.total_failures,
            consecutive_failures=self.watch.failures,
            out_for_s=round(self.watch.out_for_s, 3),
            estimated_answers=self.estimated,
            cause=self.watch.cause,
        )

    def visited(self) -> "Visit":
        """A call goes there, until the context is left."""
        return Visit(self)

    def ended(self, visit: "Visit", error: object) -> None:
        """A call has ended, with `error` or with None."""
        self.calls -= 1
        if isinstance(error, FAILURES):
            self.total_failures += 1
            self.watch.failed(error, trying=visit.trying)
        elif visit.whole or isinstance(error, ZaffreError):  # it has read the call, and refused it
            self.watch.succeeded(trying=visit.trying)
        else:
            self.watch.left(trying=visit.trying)


class Visit:
    """One call at one member; a class because a generator would cost four times as much."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.trying = False
        """Whether it is the one that tries."""
        self.whole = False

    def __enter__(self) -> Self:
        member = self._member
        member.calls += 1
        member.total_calls += 1
        self.trying = member.watch.begin()
        return self

    def note(self, batch: Sequence[Delta]) -> None:
        """These deltas have come."""
        if self.trying:
            self.trying = False
            self._member.watch.answered(trying=True)
        if batch and isinstance(usage := batch[-1], Usage):
            self.whole = True
            self._member.estimated += usage.estimated

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        self._member.ended(self, error)
