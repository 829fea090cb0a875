"""The platform half: what is declared, how it changes, and how it goes with what runs."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec import Struct

from zaffre.config.declarations import apply, read_documents
from zaffre.config.plan_changes import (
    find_endpoint,
    set_traffic,
    without_deployment,
    without_endpoint,
)
from zaffre.config.settings import ConfigurationError
from zaffre.config.showing import (
    Shown,
    list_deployments,
    list_endpoints,
    show_deployment,
    show_endpoint,
)
from zaffre.core.engine import Health
from zaffre.core.errors import InvalidRequest, NotFound, ZaffreError
from zaffre.core.metering import UsageQuery, UsageSum
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan
from zaffre.routing.replicas import Replica
from zaffre.service.credentials import Credentials
from zaffre.service.fleet import Fleet, Key, Running
from zaffre.service.runs import MIB, Placement
from zaffre.service.upstreams import UpstreamRun
from zaffre.upstream.member import UpstreamStatus

HEALTH_TIMEOUT_S = 2.0
Locate = Callable[[DeploymentPlan], Placement]
"""Finds a deployment's model, fetching it if need be, and chooses its engine. Blocks."""
ReadUsage = Callable[[UsageQuery], Awaitable[list[UsageSum]]]
"""Sums up what was used, with its cost."""


def endpoint_path(name: str) -> str:
    """Where an endpoint is found on this server."""
    return f"/endpoints/{name}"


def _nowhere(_plan: Plan) -> None:
    """Nobody keeps a plan, or has anything against one."""


@contextmanager
def _as_request() -> Iterator[None]:
    """What is wrong with a declaration is here wrong with a request."""
    try:
        yield
    except ConfigurationError as error:
        raise InvalidRequest(error.message) from None


def _serverless(plan: Plan, endpoint: str | None) -> bool:
    kinds = {e.name.lower(): e.kind for e in plan.endpoints}
    return kinds.get((endpoint or "").lower()) == "serverless"


def _endpoint_names(plan: Plan) -> set[str]:
    return {endpoint.name.lower() for endpoint in plan.endpoints}


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


class Applied(Struct, frozen=True, kw_only=True):
    """What a change did."""

    endpoints: list[Shown]
    deployments: list[Shown]
    """As they are now, of those that were named."""
    warnings: list[str]


class Platform:
    """Changes the plan, whole or not at all, and tells what became of it.

    `keep` puts a plan where it outlives the process; it blocks. `check` raises what else may be
    wrong with a plan. `read_again` reads the files that the server was started with. Without
    `credentials` or `read_usage`, nobody can ask for them.
    """

    def __init__(  # noqa: PLR0913 - what boot joins to it; most has a default
        self,
        fleet: Fleet,
        locate: Locate,
        *,
        keep: Callable[[Plan], None] = _nowhere,
        check: Callable[[Plan], None] = _nowhere,
        read_again: Callable[[], Plan] | None = None,
        credentials: Credentials | None = None,
        read_usage: ReadUsage | None = None,
    ) -> None:
        self.plan = Plan()
        self._fleet = fleet
        self._locate = locate
        self._keep = keep
        self._check = check
        self._read_again = read_again
        self._credentials = credentials
        self._read_usage = read_usage
        self._changing = asyncio.Lock()

    def begin(self, plan: Plan, placements: Mapping[Key, Placement]) -> None:
        """Run `plan`, as found at a start; nothing is kept."""
        self._check(plan)
        self._fleet.check_memory(plan, placements)
        self.plan = plan
        self._fleet.follow(plan, placements)

    async def apply(self, documents: Sequence[object]) -> Applied:
        """Create or replace what `documents` declare, all of it or nothing.

        Raises `InvalidRequest` with all that is wrong with them, and what `change` raises.
        """
        with _as_request():
            declared = read_documents(documents, "documents")
        plan = await self.change(lambda plan: apply(plan, declared))
        change = declared.change
        deployments = [
            self._shown_deployment(d.endpoint, d.name)
            for d in change.deployments
            if not _serverless(plan, d.endpoint)
        ]
        return Applied(
            endpoints=[self.show_endpoint(endpoint.name) for endpoint in change.endpoints],
            deployments=deployments,
            warnings=[str(warning) for warning in (*declared.warnings, *declared.start_only)],
        )

    async def set_traffic(
        self, name: str, traffic: dict[str, int] | None, mirror: dict[str, int] | None
    ) -> Shown:
        """Give an endpoint's deployments other shares. None leaves what is there."""
        await self.change(lambda plan: set_traffic(plan, name, traffic, mirror))
        return self.show_endpoint(name)

    async def delete_endpoint(self, name: str) -> None:
        """Remove an endpoint, its deployments and its keys. Raises `NotFound` and `Conflict`."""
        await self.change(lambda plan: without_endpoint(plan, name))

    async def delete_deployment(self, endpoint: str | None, name: str) -> None:
        """Remove a deployment without traffic. Raises `NotFound` and `Conflict`."""
        await self.change(lambda plan: without_deployment(plan, endpoint, name))

    async def reload(self) -> None:
        """Read the server's files again and follow them. Raises what is wrong with them."""
        if self._read_again is None:
            return
        plan = await asyncio.to_thread(self._read_again)
        await self.change(lambda _: plan)

    async def change(self, edit: Callable[[Plan], Plan]) -> Plan:
        """Replace the plan by what `edit` makes of it.

        Raises what `edit` raises, and whatever is wrong with a model that the new plan names;
        then the running plan is untouched. Returns when the new one is kept and being followed;
        `settled` waits until it is what runs.
        """
        async with self._changing:
            with _as_request():
                plan = edit(self.plan)
                before = {deployment.key: deployment for deployment in self.plan.deployments}
                changed = [d for d in plan.deployments if before.get(d.key) != d]
                placements = {d.key: await self._placed(d) for d in changed}
                self._check(plan)
                self._fleet.check_memory(plan, placements)
                await asyncio.to_thread(self._keep, plan)
            gone = _endpoint_names(self.plan) - _endpoint_names(plan)
            self.plan = plan
            self._fleet.follow(plan, placements)
            if self._credentials is not None:
                for name in sorted(gone):  # another of the name starts without keys
                    await self._credentials.forget_endpoint(name)
            return plan

    async def _placed(self, deployment: DeploymentPlan) -> Placement:
        try:
            return await asyncio.to_thread(self._locate, deployment)
        except ZaffreError as error:  # no such model, or one that cannot be used
            raise InvalidRequest(f"Deployment '{deployment.name}': {error.message}") from None

    async def settled(self, key: Key) -> None:
        """Wait until the last change of a deployment has gone through or failed."""
        await self._fleet.settled(key)

    @property
    def credentials(self) -> Credentials:
        """The keys and tokens of this server. Raises `NotFound` where it has none."""
        if self._credentials is None:
            raise NotFound("This server keeps no keys.")
        return self._credentials

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """What was used, with its cost. Raises `NotFound` where nobody keeps account of it."""
        if self._read_usage is None:
            raise NotFound("This server keeps no account of its use.")
        return await self._read_usage(query)

    def endpoint(self, name: str) -> EndpointPlan:
        """An endpoint as it is declared. Raises `NotFound`."""
        return find_endpoint(self.plan, name)

    def show_endpoint(self, name: str) -> Shown:
        """An endpoint as Azure's command line prints it. Raises `NotFound`."""
        shown = show_endpoint(self.plan, name)
        keys = [d.key for d in self.plan.deployments if d.key[0] == name.lower()]
        states = {self._fleet.update_of(key).state for key in keys}
        worst = next((s for s in ("Failed", "Updating") if s in states), "Succeeded")
        return shown | {"provisioning_state": worst, "scoring_uri": endpoint_path(shown["name"])}

    def endpoints(self, kind: str) -> list[Shown]:
        """All endpoints of a kind: `managed` or `serverless`."""
        return [self.show_endpoint(e["name"]) for e in list_endpoints(self.plan, kind)]

    def show_deployment(self, endpoint: str | None, name: str) -> Shown:
        """A deployment as Azure's command line prints it; None: at the root. Raises `NotFound`."""
        return self._shown_deployment(endpoint, name)

    def deployments(self, endpoint: str | None) -> list[Shown]:
        """All deployments of an endpoint, or of the root. Raises `NotFound`."""
        return [
            self._shown_deployment(endpoint, shown["name"])
            for shown in list_deployments(self.plan, endpoint)
        ]

    def _shown_deployment(self, endpoint: str | None, name: str) -> Shown:
        shown = show_deployment(self.plan, endpoint, name)
        update = self._fleet.update_of(((endpoint or "").lower(), name.lower()))
        shown["provisioning_state"] = update.state
        if update.cause:
            shown["provisioning_error"] = update.cause
        return shown

    def logs(self, endpoint: str | None, name: str) -> list[str]:
        """The last lines that a deployment's workers wrote. Raises `NotFound`."""
        show_deployment(self.plan, endpoint, name)
        running = self._fleet.find(endpoint or "", name)
        return [line for run in (running.runs if running else ()) for line in run.log_lines()]

    def upstreams(self) -> dict[str, list[UpstreamStatus]]:
        """How other people's servers are, by deployment."""
        return {
            running.deployment.full_name: run.upstreams()
            for running in self._fleet.running()
            for run in running.runs
            if isinstance(run, UpstreamRun)
        }

    async def replicas(self) -> list[ReplicaStatus]:
        """All replicas, with what their engines say of themselves."""
        pairs = [(running, run) for running in self._fleet.running() for run in running.runs]
        return await asyncio.gather(
            *(_replica_status(running, run.replica, run.memory_bytes()) for running, run in pairs)
        )


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
        calls=replica.calls + replica.calls_elsewhere,
        restarts=replica.restarts,
        memory_mib=memory // MIB,
        tokens=replica.tokens,
        tokens_per_s=running.tokens_per_s,
        cause=replica.cause,
    )
