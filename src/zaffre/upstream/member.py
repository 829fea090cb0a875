"""One upstream of a pool: its client, its load, and how it is judged."""

from collections.abc import Callable, Coroutine
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
        self._total_calls = 0
        self._total_failures = 0
        self._estimated = 0

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
        with _Visit(self) as visit:
            async with aclosing(start(self.client)) as batches:
                async for batch in batches:
                    if visit.trying:
                        visit.trying = False
                        self.watch.answered(trying=True)
                    if isinstance(usage := batch[-1], Usage):
                        visit.whole = True
                        self._estimated += usage.estimated
                    yield batch

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """All deltas of a generation here."""
        deltas = await self.fetch(lambda client: client.answer(call))
        if deltas and isinstance(usage := deltas[-1], Usage):
            self._estimated += usage.estimated
        return deltas

    async def fetch(self, start: Callable[[ModelClient], Coroutine[Any, Any, T]]) -> T:
        """The result of a call here that has one piece."""
        with _Visit(self) as visit:
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
            total_calls=self._total_calls,
            total_failures=self._total_failures,
            consecutive_failures=self.watch.failures,
            out_for_s=round(self.watch.out_for_s, 3),
            estimated_answers=self._estimated,
            cause=self.watch.cause,
        )

    def begin(self) -> bool:
        """A call goes there; whether it is the one that tries."""
        self.calls += 1
        self._total_calls += 1
        return self.watch.begin()

    def end(self, visit: "_Visit", error: object) -> None:
        """A call has ended, with `error` or with None."""
        self.calls -= 1
        if isinstance(error, FAILURES):
            self._total_failures += 1
            self.watch.failed(error, trying=visit.trying)
        elif visit.whole or isinstance(error, ZaffreError):  # it has read the call, and refused it
            self.watch.succeeded(trying=visit.trying)
        else:
            self.watch.left(trying=visit.trying)


class _Visit:
    """One call at one member; a class because a generator would cost four times as much."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.trying = False
        self.whole = False

    def __enter__(self) -> Self:
        self.trying = self._member.begin()
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        self._member.end(self, error)
