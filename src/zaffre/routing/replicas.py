"""Replicas: what serves a deployment, and who is free."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from zaffre.core.client import ModelClient
from zaffre.core.errors import ModelUnavailable, Overloaded

ReplicaState = Literal["starting", "ready", "failed", "stopped"]
NOTICE_TIMEOUT_S = 2.0
"""From a lost connection until the supervisor must have noticed; it takes milliseconds."""
READY_TIMEOUT_S = 30.0
"""How long a call may wait for a model that is starting or restarting."""


class Replica:
    """One worker or foreign server, with the calls it is on."""

    def __init__(self, name: str, *, max_calls: int) -> None:
        self.name = name
        self.state: ReplicaState = "starting"
        self.cause = ""
        """Why it failed, when it did."""
        self.client: ModelClient | None = None
        self.calls = 0
        self.restarts = 0
        self.pid: int | None = None
        self._max_calls = max_calls
        self._changed = asyncio.Event()

    def became(
        self, state: ReplicaState, client: ModelClient | None = None, cause: str = ""
    ) -> None:
        """Note a change of state; whoever waits for it goes on."""
        self.state, self.client, self.cause = state, client, cause
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        """Wait until the state changes again."""
        await self._changed.wait()

    @property
    def full(self) -> bool:
        """Whether one more call would be refused."""
        return self.calls >= self._max_calls

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Count a call in and out. Raises `Overloaded` at once when the replica is full."""
        if self.full:
            raise Overloaded("Too many requests for this model. Please retry after 1 second.")
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1


async def successor(replica: Replica, lost: ModelClient) -> ModelClient:
    """The client after `lost`, whose worker has died a moment before its supervisor knew of it.

    Raises `ModelUnavailable` when nobody else notices, or the next one does not come in time.
    """
    try:
        async with asyncio.timeout(NOTICE_TIMEOUT_S):
            while replica.client is lost:
                await replica.wait_for_change()
    except TimeoutError:
        raise ModelUnavailable(f"Model '{replica.name}' cannot be reached.") from None
    return await ready_client(replica)


async def ready_client(replica: Replica, timeout_s: float = READY_TIMEOUT_S) -> ModelClient:
    """The client of `replica`, waiting while it starts. Raises `ModelUnavailable`."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                if replica.client is not None:
                    return replica.client
                if replica.state in ("failed", "stopped"):
                    # The cause may name paths: operators see it, with the replicas and in the log.
                    raise ModelUnavailable(
                        f"Model '{replica.name}' is not running; the server's log says why."
                    )
                await replica.wait_for_change()
    except TimeoutError:
        raise ModelUnavailable(
            f"Model '{replica.name}' is still starting. Please retry.", retry_after_s=5
        ) from None
