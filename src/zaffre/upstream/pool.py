"""Several upstreams behind one name: who is asked, who is asked instead, and who is left alone."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import EmbedCall, GenerationCall, ImageEmbedCall
from zaffre.core.capabilities import Capabilities
from zaffre.core.client import ModelClient
from zaffre.core.deltas import Batches, Delta, Embeddings
from zaffre.core.engine import Health
from zaffre.core.errors import (
    ModelUnavailable,
    ModelUnreachable,
    Overloaded,
    ZaffreError,
)
from zaffre.core.plan import Upstream
from zaffre.upstream.foreign.capabilities import Probed, check_declared, common, describe
from zaffre.upstream.foreign.client import ForeignClient
from zaffre.upstream.foreign.credential import Credential, check_url, read_credential
from zaffre.upstream.hedging import Race, Start
from zaffre.upstream.member import FAILURES, ForeignServer, Member, UpstreamStatus
from zaffre.upstream.watch import Watch, WatchRules

PROBE_TIMEOUT_S = 5.0
"""For what a server says of its model, at the start."""
MAX_RUNNING = 2
"""Generations of one call at a time."""
OpenClient = Callable[[Upstream, str, Credential | None], ForeignServer]
log = logging.getLogger("zaffre.upstream")
T = TypeVar("T")


class PoolRules(Struct, frozen=True, kw_only=True):
    """How a pool treats its upstreams."""

    watch: WatchRules = WatchRules()
    attempts: int = 3
    """Upstreams that one call is tried on, each once."""
    hedge_after_s: float | None = None
    """After so long without a first delta a generation also starts elsewhere, and the first to
    speak goes on. It costs a second generation. None: never."""


class Chance(Struct, frozen=True):
    """What a pool would otherwise take from the machine."""

    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    random: Callable[[], float] = random.random
    """From 0 up to, and not, 1."""


class UpstreamPool:
    """A `ModelClient` over several foreign servers.

    Among those of the lowest priority number that may be asked and have room, the one with the
    least calls for its weight is asked; among equals, chance by weight decides. A call goes to
    another one when it failed for the upstream's fault before anything of its answer has been
    handed out. Make it inside the event loop; `start` it before use, `aclose` it at the end.

    Raises `ConfigurationError` when an upstream's declaration cannot be, or its credential is not
    where it should be.
    """

    def __init__(
        self,
        name: str,
        upstreams: Sequence[Upstream],
        environ: Mapping[str, str],
        *,
        rules: PoolRules | None = None,
        chance: Chance | None = None,
        open_client: OpenClient = ForeignClient,
    ) -> None:
        if not upstreams:
            raise ConfigurationError(f"Deployment '{name}' has no upstream.")
        self._name = name
        self._rules = rules or PoolRules()
        self._chance = chance or Chance()
        for upstream in upstreams:
            check_url(upstream.url)
            check_declared(upstream)
        credentials = [read_credential(upstream, environ) for upstream in upstreams]
        self._members = [
            Member(
                upstream,
                open_client(upstream, name, credential),
                Watch(self._rules.watch, self._chance.clock),
            )
            for upstream, credential in zip(upstreams, credentials, strict=True)
        ]
        self._capabilities: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities | None:
        """What a call may ask for: what all upstreams can do. None before the start."""
        return self._capabilities

    async def start(self) -> Capabilities:
        """Ask every upstream what it can do; those that do not answer count as declared.

        Raises `EngineFailed` when they do not fit together under one name.
        """
        probed = await asyncio.gather(*(self._probe(member) for member in self._members))
        described = [
            describe(self._name, member.upstream, found)
            for member, found in zip(self._members, probed, strict=True)
        ]
        self._capabilities = common(self._name, described)
        return self._capabilities

    async def aclose(self) -> None:
        """Close all connections; calls under way end with an error."""
        await asyncio.gather(*(member.client.aclose() for member in self._members))

    def statuses(self) -> list[UpstreamStatus]:
        """All upstreams, in the order of their declaration."""
        return [member.status(self._name) for member in self._members]

    async def health(self) -> Health:
        """How many calls are under way."""
        return Health(active=sum(member.calls for member in self._members))

    def stream(self, call: GenerationCall) -> Batches:
        """See `zaffre.core.client.ModelClient`."""
        hedge_after_s = self._rules.hedge_after_s
        if hedge_after_s is None:
            return self._generate(lambda client: client.stream(call))
        return self._race(lambda client: client.stream(call), hedge_after_s)

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """See `zaffre.core.client.ModelClient`."""
        hedge_after_s = self._rules.hedge_after_s
        if hedge_after_s is None:
            return await self._fetch(lambda member: member.answer(call))
        async with aclosing(self._race(partial(_in_one_batch, call), hedge_after_s)) as batches:
            return [delta async for batch in batches for delta in batch]

    async def embed(self, call: EmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        return await self._fetch(lambda member: member.fetch(lambda client: client.embed(call)))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        return await self._fetch(
            lambda member: member.fetch(lambda client: client.embed_images(call))
        )

    async def _race(self, start: Start, hedge_after_s: float) -> Batches:
        winner, first, member = await self._win(start, hedge_after_s)
        async with aclosing(winner):
            yield first
            try:
                async for batch in winner:
                    yield batch
            except FAILURES as failure:
                self._tell(member, failure)
                raise _settled(failure) from failure

    async def _win(self, start: Start, hedge_after_s: float) -> tuple[Batches, list[Delta], Member]:
        """Whose answer goes on, from its first deltas."""
        tried: list[Member] = []
        error: ZaffreError | None = None
        async with aclosing(Race()) as race:
            while True:
                member = self._choose(tried) if len(race) < MAX_RUNNING else None
                if member is not None:
                    tried.append(member)
                    race.enter(member, start)
                elif not len(race):
                    raise self._nobody(error)
                # Nobody is left to enter, or enough are running: then there is nothing to wait for
                # but them.
                patient = member is None or len(race) == MAX_RUNNING
                found = await race.result(None if patient else hedge_after_s)
                if found is None:
                    continue
                member, batches, outcome = found
                if not isinstance(outcome, ZaffreError):
                    return batches, outcome, member
                if not isinstance(outcome, FAILURES):
                    raise outcome
                self._tell(member, outcome)
                error = _settled(outcome)

    async def _generate(self, start: Start) -> Batches:
        tried: list[Member] = []
        error: ZaffreError | None = None
        while (member := self._choose(tried)) is not None:
            tried.append(member)
            began = False
            try:
                with member.visited() as visit:
                    async with aclosing(start(member.client)) as batches:
                        async for batch in batches:
                            began = True
                            visit.note(batch)
                            yield batch
                return
            except FAILURES as failure:
                self._tell(member, failure)
                error = _settled(failure)
                if began:
                    raise error from failure
        raise self._nobody(error)

    async def _fetch(self, start: Callable[[Member], Coroutine[Any, Any, T]]) -> T:
        tried: list[Member] = []
        error: ZaffreError | None = None
        while (member := self._choose(tried)) is not None:
            tried.append(member)
            try:
                return await start(member)
            except FAILURES as failure:
                self._tell(member, failure)
                error = _settled(failure)
        raise self._nobody(error)

    def _choose(self, tried: Sequence[Member]) -> Member | None:
        if len(tried) >= self._rules.attempts:
            return None
        if len(self._members) == 1:  # often, and quickly said
            only = self._members[0]
            return only if only.watch.admits and not only.full and not tried else None
        free = [m for m in self._members if m.watch.admits and not m.full and m not in tried]
        if not free:
            return None
        first = min(member.upstream.priority for member in free)
        level = [member for member in free if member.upstream.priority == first]
        least = min(member.load for member in level)
        return self._draw([member for member in level if member.load == least])

    def _draw(self, equals: Sequence[Member]) -> Member:
        """One of them, by weight."""
        ticket = self._chance.random() * sum(member.upstream.weight for member in equals)
        for member in equals:
            ticket -= member.upstream.weight
            if ticket < 0:
                return member
        return equals[-1]

    def _nobody(self, error: ZaffreError | None) -> ZaffreError:
        """Why nobody has answered."""
        if error is not None:
            return error
        if any(member.watch.admits for member in self._members):
            return Overloaded(f"Too many requests for model '{self._name}'. Please retry.")
        soonest = min(member.watch.retry_after_s() for member in self._members)
        if all(member.watch.state == "waiting" for member in self._members):
            return Overloaded(
                f"Every server behind model '{self._name}' has asked for time. Please retry after"
                f" {soonest} seconds.",
                soonest,
            )
        return ModelUnavailable(
            f"No server behind model '{self._name}' answers at present. Please retry after"
            f" {soonest} seconds.",
            soonest,
        )

    def _tell(self, member: Member, failure: ZaffreError) -> None:
        status = member.status(self._name)
        log.warning(
            "%s: %s failed (%d in a row, now %s): %s",
            self._name,
            status.url,
            status.consecutive_failures,
            status.state,
            failure.message,
        )

    async def _probe(self, member: Member) -> Probed:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await member.client.probe()
        except (ZaffreError, TimeoutError) as error:
            reason = str(error) or f"no answer in {PROBE_TIMEOUT_S:g} seconds"
            log.warning(
                "%s: %s does not say what it can do, and counts as declared: %s",
                self._name,
                member.client.place,
                reason,
            )
            return Probed()


async def _in_one_batch(call: GenerationCall, client: ModelClient) -> Batches:
    yield await client.answer(call)


def _settled(failure: ZaffreError) -> ZaffreError:
    """`failure` as callers get it: `ModelUnreachable` would ask them to look for another client."""
    if isinstance(failure, ModelUnreachable):
        return ModelUnavailable.restore(failure)
    return failure
