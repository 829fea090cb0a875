"""Deployments at run time: a model under a name, the replicas that answer for it, who is free."""

import asyncio
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from zaffre.core.calls import Operation
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.client import ModelClient
from zaffre.core.errors import ModelUnavailable, Overloaded, ZaffreError
from zaffre.core.plan import DeploymentPlan
from zaffre.routing.replicas import Replica

NOTICE_TIMEOUT_S = 2.0
"""From a lost connection until the supervisor must have noticed; it takes milliseconds."""
READY_TIMEOUT_S = 30.0
"""How long a call may wait for a model that is starting or restarting."""
AFFINITY_SLACK = 1
"""Calls that a replica may be ahead of the least busy one and still get those it knows."""

DeploymentState = Literal["unloaded", "starting", "ready", "failed"]


def _asleep() -> None:
    """Nobody loads this deployment on demand."""


class Deployment:
    """A model under a name. `wake` is called when a call finds no replica that is up or coming."""

    def __init__(  # noqa: PLR0913 - what a deployment is made of
        self,
        plan: DeploymentPlan,
        card: ModelCard,
        engine: str,
        *,
        max_calls: int,
        created: int,
        wake: Callable[[], None] = _asleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.card = card
        self.engine = engine
        self.max_calls = max_calls
        """Calls at a time, over all replicas; one more is refused at once."""
        self.created = created
        """Unix seconds."""
        self.replicas: list[Replica] = []
        self.calls = 0
        self.expected = 0
        """Calls that are not admitted yet: they wait for a word from elsewhere first."""
        self.calls_elsewhere = 0
        """Those of other gateway processes, as they last said."""
        self.last_call = clock()
        """On the clock that was given."""
        self.leaving = False
        """Whether no new call can reach it and somebody waits for the last one to end."""
        self.trouble: ZaffreError | None = None
        """Why it could not be loaded when it was last asked for."""
        self._wake = wake
        self._clock = clock
        self._capabilities: Capabilities | None = None
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        """Its name, as declared."""
        return self.plan.name

    @property
    def full_name(self) -> str:
        """Its name with its endpoint's before it."""
        return f"{self.plan.endpoint}/{self.name}" if self.plan.endpoint else self.name

    @property
    def capabilities(self) -> Capabilities | None:
        """What its model can do; None until a replica has started once."""
        for replica in self.replicas:
            if replica.capabilities is not None:
                self._capabilities = replica.capabilities
        return self._capabilities

    @property
    def in_use(self) -> bool:
        """Whether a call is on it, or on its way."""
        return bool(self.calls or self.expected)

    @property
    def idle_s(self) -> float:
        """Seconds since its last call began or ended."""
        return self._clock() - self.last_call

    def used(self, idle_s: float) -> None:
        """Another process had a call on it `idle_s` seconds ago."""
        self.last_call = max(self.last_call, self._clock() - idle_s)

    def learn(self, capabilities: Capabilities) -> None:
        """What its model can do, from somebody who has seen it run."""
        self._capabilities = capabilities

    @property
    def operations(self) -> Collection[Operation]:
        """What it does: as its replicas said, or as is known before one has started."""
        capabilities = self.capabilities
        return self.card.operations if capabilities is None else capabilities.operations

    @property
    def state(self) -> DeploymentState:
        """Whether it can answer now, or will soon."""
        states = {replica.state for replica in self.replicas}
        for state in ("ready", "starting", "failed"):
            if state in states:
                return state
        return "failed" if self.trouble is not None else "unloaded"

    @property
    def cause(self) -> str:
        """Why it failed, when it did. It may name paths: for operators only."""
        if self.trouble is not None:
            return self.trouble.message
        return next((replica.cause for replica in self.replicas if replica.cause), "")

    def changed(self) -> None:
        """Note a change in any replica; whoever waits for it goes on."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        """Wait until something about the replicas changes again."""
        await self._changed.wait()

    def admitted(self) -> "_Admission":
        """Count a call in and out. Raises `Overloaded` at once when there are too many."""
        return _Admission(self)

    def enter(self) -> None:
        """A call begins. Raises `Overloaded` when there are too many. For `admitted`."""
        if self.calls >= self.max_calls:
            raise Overloaded("Too many requests for this model. Please retry after 1 second.")
        self.calls += 1
        self.last_call = self._clock()

    def leave(self) -> None:
        """A call has ended. For `admitted`."""
        self.calls -= 1
        self.last_call = self._clock()
        if self.leaving and not self.in_use:
            self.changed()

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """A call is on its way: what it will need stays until it is admitted, or will not come."""
        self.expected += 1
        try:
            yield
        finally:
            self.expected -= 1
            if self.leaving and not self.in_use:
                self.changed()

    async def ready_replica(
        self, affinity: int = 0, timeout_s: float = READY_TIMEOUT_S
    ) -> tuple[Replica, ModelClient]:
        """Who answers the next call, waiting while the model starts.

        `affinity` is the same for calls that begin alike; they go to one replica while it is not
        much busier than the others. Raises `ModelUnavailable`.
        """
        if (ready := self._up(affinity)) is not None:  # nearly always, and a timer is not free
            return ready
        if self.state == "failed" and self.trouble is not None:
            self.trouble = None  # it could not be loaded when it was last asked for; now perhaps
        try:
            async with asyncio.timeout(timeout_s):
                while (ready := self._up(affinity)) is None:
                    self._demand()
                    await self.wait_for_change()
                return ready
        except TimeoutError:
            raise ModelUnavailable(
                f"Model '{self.name}' is still starting. Please retry.", retry_after_s=5
            ) from None

    async def successor(self, lost: ModelClient, affinity: int = 0) -> tuple[Replica, ModelClient]:
        """Who answers after `lost`, whose worker has died before its supervisor knew of it.

        Raises `ModelUnavailable` when nobody else notices, or the next one does not come in time.
        """
        try:
            async with asyncio.timeout(NOTICE_TIMEOUT_S):
                while any(replica.client is lost for replica in self.replicas):
                    await self.wait_for_change()
        except TimeoutError:
            raise ModelUnavailable(f"Model '{self.name}' cannot be reached.") from None
        return await self.ready_replica(affinity)

    def _up(self, affinity: int) -> tuple[Replica, ModelClient] | None:
        """Who would answer now, if anybody."""
        up = [(replica, c) for replica in self.replicas if (c := replica.client) is not None]
        return _least_busy(up, affinity) if up else None

    def _demand(self) -> None:
        """See to it that somebody is coming up. Raises `ModelUnavailable` when nobody will."""
        if self.trouble is not None:
            raise self.trouble
        if self.state == "unloaded":
            self._wake()
        if self.state == "failed":
            # The cause may name paths: operators see it, with the replicas and in the log.
            raise ModelUnavailable(
                f"Model '{self.name}' is not running; the server's log says why."
            )


class _Admission:
    """A call on a deployment; a class because a generator would cost four times as much."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def __enter__(self) -> None:
        self._deployment.enter()

    def __exit__(self, *_: object) -> None:
        self._deployment.leave()


def _least_busy(
    up: Sequence[tuple[Replica, ModelClient]], affinity: int
) -> tuple[Replica, ModelClient]:
    if len(up) == 1:
        return up[0]
    least = min(up, key=lambda one: one[0].calls)
    known = max(up, key=lambda one: zlib.crc32(f"{affinity} {one[0].name}".encode()))
    if affinity and known[0].calls <= least[0].calls + AFFINITY_SLACK:
        return known
    return least
