"""Stands: what stands behind one replica in a gateway process that did not start it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from zaffre.core.errors import ZaffreError
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.service.runs import Line, Run
from zaffre.service.siblings.shapes import ReplicaShown
from zaffre.upstream.client import UpstreamClient


class Stand(Protocol):
    """Keeps a replica as the first process shows it."""

    replica: Replica

    def follow(self, shown: ReplicaShown) -> None:
        """The replica is now like this."""

    async def aclose(self) -> None:
        """Close all connections."""


class WorkerStand:
    """Calls a worker that the first process keeps running."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self._line: Line | None = None
        self._client: UpstreamClient | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, shown: ReplicaShown) -> None:
        """Change over to a new worker, stop calling a silent one, or go on."""
        client = self._client_of(shown)
        if client is not None and shown.capabilities is not None:
            if self.replica.client is not client:
                self.replica.serves(client, shown.capabilities)
        elif shown.state == "failed":
            if self.replica.state != "failed":
                self.replica.ended(shown.cause)
        elif self.replica.client is not None:
            self.replica.hides(shown.cause)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
        await asyncio.gather(*self._closing)

    def _client_of(self, shown: ReplicaShown) -> UpstreamClient | None:
        """Whom to call; None while there is nobody."""
        if shown.state != "ready" or shown.line is None:
            return None
        if shown.line != self._line:
            if self._client is not None:  # its worker is dead
                task = asyncio.get_running_loop().create_task(self._client.aclose())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._line, self._client = shown.line, shown.line.client()
        return self._client


class UpstreamStand:
    """Calls other people's servers, as the first process does for itself."""

    def __init__(
        self,
        deployment: Deployment,
        replica: Replica,
        make_run: Callable[[Deployment, Replica], Run],
    ) -> None:
        self.replica = replica
        self._run: Run | None = None
        try:
            self._run = make_run(deployment, replica)
            self._run.start()
        except ZaffreError as error:
            replica.ended(error.message)

    def follow(self, shown: ReplicaShown) -> None:
        """How it is, it sees for itself."""

    async def aclose(self) -> None:
        """Close all connections."""
        if self._run is not None:
            await self._run.stop()
