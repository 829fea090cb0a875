"""The platform half: what is declared, how it changes, and how it goes with what runs."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct

from zaffre.core.engine import Health
from zaffre.core.errors import NotFound, ZaffreError
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan
from zaffre.routing.replicas import Replica
from zaffre.service.fleet import Fleet, Key, Running
from zaffre.service.runs import MIB, Placement

HEALTH_TIMEOUT_S = 2.0
Locate = Callable[[DeploymentPlan], Placement]
"""Finds a deployment's model, fetching it if need be, and chooses its engine. Blocks."""


class PlanKeeper(Protocol):
    """Where the plan outlives the process."""

    def save(self, plan: Plan) -> None:
        """Keep `plan`, durably, instead of the one before."""


class ReplicaStatus(Struct, frozen=True, kw_only=True):
    """What operators see of a replica."""

    deployment: str
    """With its endpoint before it, where it has one."""
    name: str
    engine: str
    state: str
    pid: int | None
    """The worker process, on this machine."""
    active: int
    waiting: int
    calls: int
    restarts: int
    memory_mib: int
    tokens: int
    """Generated or embedded since it began."""
    tokens_per_s: float
    """Of the whole deployment, in the last second."""
    cause: str


class DeploymentStatus(Struct, frozen=True):
    """A deployment, and how it goes."""

    plan: DeploymentPlan
    provisioning_state: str
    cause: str = ""


class Platform:
    """Changes the plan, whole or not at all, and tells what became of it."""

    def __init__(self, fleet: Fleet, keeper: PlanKeeper | None, locate: Locate) -> None:
        self.plan = Plan()
        self._fleet = fleet
        self._keeper = keeper
        self._locate = locate
        self._changing = asyncio.Lock()

    def begin(self, plan: Plan, placements: Mapping[Key, Placement]) -> None:
        """Run `plan`, as found at a start; nothing is kept."""
        self._fleet.check_memory(plan, placements)
        self.plan = plan
        self._fleet.follow(plan, placements)

    async def change(self, edit: Callable[[Plan], Plan], *, keep: bool = True) -> Plan:
        """Replace the plan by what `edit` makes of it.

        Raises what `edit` raises, and whatever is wrong with a model that the new plan names;
        then the running plan is untouched. Returns when the new one is kept and being followed;
        `settled` waits until it is what runs.
        """
        async with self._changing:
            plan = edit(self.plan)
            before = {deployment.key: deployment for deployment in self.plan.deployments}
            changed = [d for d in plan.deployments if before.get(d.key) != d]
            placements = {d.key: await asyncio.to_thread(self._locate, d) for d in changed}
            self._fleet.check_memory(plan, placements)
            if keep and self._keeper is not None:
                await asyncio.to_thread(self._keeper.save, plan)
            self.plan = plan
            self._fleet.follow(plan, placements)
            return plan

    async def settled(self, key: Key) -> None:
        """Wait until the last change of a deployment has gone through or failed."""
        await self._fleet.settled(key)

    def endpoint(self, name: str) -> EndpointPlan:
        """The endpoint of this name. Raises `NotFound`."""
        for endpoint in self.plan.endpoints:
            if endpoint.name.lower() == name.lower():
                return endpoint
        raise NotFound(f"Endpoint '{name}' was not found.")

    def deployment(self, endpoint: str, name: str) -> DeploymentStatus:
        """A deployment of an endpoint, or of the root when that is "". Raises `NotFound`."""
        key = (endpoint.lower(), name.lower())
        for deployment in self.plan.deployments:
            if deployment.key == key:
                return self._status(deployment)
        where = f" of endpoint '{endpoint}'" if endpoint else ""
        raise NotFound(f"Deployment '{name}'{where} was not found.")

    def deployments(self, endpoint: str | None = None) -> list[DeploymentStatus]:
        """All deployments, or those of one endpoint."""
        return [
            self._status(deployment)
            for deployment in self.plan.deployments
            if endpoint is None or deployment.key[0] == endpoint.lower()
        ]

    def logs(self, endpoint: str, name: str) -> list[str]:
        """The last lines that a deployment's workers wrote. Raises `NotFound`."""
        self.deployment(endpoint, name)
        running = self._fleet.find(endpoint, name)
        return [line for run in (running.runs if running else ()) for line in run.log_lines()]

    async def replicas(self) -> list[ReplicaStatus]:
        """All replicas, with what their engines say of themselves."""
        pairs = [(running, run) for running in self._fleet.running() for run in running.runs]
        return await asyncio.gather(
            *(_replica_status(running, run.replica, run.memory_bytes()) for running, run in pairs)
        )

    def _status(self, plan: DeploymentPlan) -> DeploymentStatus:
        update = self._fleet.update_of(plan.key)
        return DeploymentStatus(plan, update.state, update.cause)


async def _replica_status(running: Running, replica: Replica, memory: int) -> ReplicaStatus:
    health = Health()
    if replica.client is not None:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                health = await replica.client.health()
        except (ZaffreError, TimeoutError):  # on its way down; its supervisor will say so
            health = Health()
    return ReplicaStatus(
        deployment=running.deployment.full_name,
        name=replica.name,
        engine=running.deployment.engine,
        state=replica.state,
        pid=replica.pid,
        active=health.active,
        waiting=health.waiting,
        calls=replica.calls,
        restarts=replica.restarts,
        memory_mib=memory // MIB,
        tokens=replica.tokens,
        tokens_per_s=running.tokens_per_s,
        cause=replica.cause,
    )
