"""Upstream runs: other people's servers behind one replica."""

import asyncio
import logging
import os

from msgspec import structs

from zaffre.core.calls import Operation
from zaffre.core.cards import ModelCard
from zaffre.core.errors import ZaffreError
from zaffre.core.plan import DeploymentPlan
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.service.runs import Placement
from zaffre.upstream.member import UpstreamStatus
from zaffre.upstream.pool import PoolRules, UpstreamPool

USUAL: tuple[Operation, ...] = ("chat", "complete")
"""What a server is taken to do until it was asked."""
log = logging.getLogger("zaffre.upstreams")


class UpstreamRun:
    """Keeps a pool of foreign servers answering for one replica. Make it in the event loop.

    Of each server's bound on calls, this process takes its share among `gateways`. Raises
    `ConfigurationError` when an upstream cannot be what it is declared to be.
    """

    def __init__(self, deployment: Deployment, replica: Replica, gateways: int = 1) -> None:
        self.replica = replica
        plan = deployment.plan
        rules = PoolRules(hedge_after_s=plan.serving.hedge_after_s)
        shares = [
            structs.replace(upstream, max_calls=max(1, upstream.max_calls // gateways))
            for upstream in plan.upstreams
        ]
        self._pool = UpstreamPool(deployment.name, shares, os.environ, rules=rules)
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask the servers what they can do; returns at once."""
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def stop(self) -> None:
        """Close all connections."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._pool.aclose()

    def memory_bytes(self) -> int:
        """Nothing on this machine."""
        return 0

    def log_lines(self) -> list[str]:
        """How each server is."""
        return [_line(status) for status in self._pool.statuses()]

    def upstreams(self) -> list[UpstreamStatus]:
        """How each server is."""
        return self._pool.statuses()

    async def _start(self) -> None:
        try:
            self.replica.serves(self._pool, await self._pool.start())
        except ZaffreError as error:
            log.warning("%s: %s", self.replica.name, error.message)
            self.replica.ended(error.message)


def upstream_placement(plan: DeploymentPlan) -> Placement:
    """What stands for the model of a deployment that other servers answer for."""
    declared = [op for upstream in plan.upstreams for op in upstream.operations]
    card = ModelCard(
        name=plan.upstreams[0].model or plan.name,
        format="upstream",
        operations=tuple(dict.fromkeys(declared)) or USUAL,
        provider="upstream",
    )
    places = ", ".join(dict.fromkeys(upstream.url for upstream in plan.upstreams))
    return Placement(card=card, path="", engine="upstream", reason=places)


def _line(status: UpstreamStatus) -> str:
    return (
        f"{status.url} {status.state}: {status.calls} of {status.max_calls} calls,"
        f" {status.total_failures} of {status.total_calls} failed. {status.cause}"
    ).rstrip()
