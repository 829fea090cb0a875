"""The fleet: keeps what runs as the plan says, and never drops a call to get there."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Collection, Container, Coroutine, Mapping
from typing import Any, Literal

from msgspec import Struct, structs

from zaffre.core.errors import Conflict, ModelUnavailable, ZaffreError
from zaffre.core.plan import DeploymentPlan, Plan
from zaffre.registry.launcher import SocketFolder
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Table, make_table
from zaffre.service.others import Alone, Others
from zaffre.service.runs import MIB, Bounds, Placement, Run, WorkerRun, calls_per_instance
from zaffre.service.sizes import declares_memory, estimate_bytes

DRAIN_S = 300.0
"""How long calls in flight on something that was replaced or removed may take to end."""
TICK_S = 1.0
"""Between two looks at who is idle."""

OWN = "$server"
"""The endpoint of the server's own deployments; no declared name can be this one."""
Key = tuple[str, str]
Provisioning = Literal["Updating", "Succeeded", "Failed"]
UpstreamRun = Callable[[Deployment, Replica], Run]
log = logging.getLogger("zaffre.fleet")


class Running:
    """A deployment of the table with what stands behind it."""

    def __init__(
        self, plan: DeploymentPlan, placement: Placement, deployment: Deployment, number: int = 0
    ) -> None:
        self.id = str(number)
        """Tells it from those that had its name before, or will."""
        self.plan = plan
        self.placement = placement
        self.deployment = deployment
        self.runs: list[Run] = []
        self.measured_bytes = 0
        """The most that one replica was seen to hold."""
        self.started = 0
        """Replicas so far; the next one's number."""
        self.tokens_per_s = 0.0
        self.tokens_seen = 0

    @property
    def need_bytes(self) -> int:
        """What all its replicas hold, or would."""
        one = estimate_bytes(self.plan, self.placement)
        if not declares_memory(self.plan):
            one = self.measured_bytes or one
        return one * self.plan.serving.instances

    @property
    def loaded(self) -> bool:
        """Whether it has replicas, up or coming."""
        return bool(self.runs)

    @property
    def busy(self) -> bool:
        """Whether any process has a call on it."""
        return self.deployment.in_use or self.deployment.calls_elsewhere > 0

    def id_of(self, replica: Replica) -> str:
        """Tells a replica of it from all others, whatever they are called."""
        return f"{self.id}/{replica.name}"


class Update(Struct, frozen=True):
    """How the last change of a deployment went."""

    state: Provisioning
    cause: str = ""


class Fleet:
    """All deployments, their replicas, and the memory they share.

    `upstream_run` makes the run of a deployment that other people's servers answer for;
    `on_table` gets each new table. `others` are the gateway processes that follow this one.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        upstream_run: UpstreamRun,
        on_table: Callable[[Table], None],
        others: Others | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.version = 0
        """Grows with each change of what `running` shows."""
        self._news = asyncio.Event()
        self._numbers = itertools.count(1)
        self._others = others or Alone()
        self._bounds = bounds
        self._upstream_run = upstream_run
        self._on_table = on_table
        self._clock = clock
        self._sockets = SocketFolder()
        self._plan = Plan()
        self._running: dict[Key, Running] = {}
        self._updates: dict[Key, Update] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._replacing: dict[Key, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to look after idle deployments."""
        self._spawn(self._look_after())

    @property
    def plan(self) -> Plan:
        """What is being followed."""
        return self._plan

    async def news(self, after: int) -> None:
        """Wait until the version is above `after`."""
        while self.version <= after:
            await self._news.wait()

    def wake(self, key: Key) -> None:
        """A call in another process waits for a deployment that is not loaded."""
        running = self._running.get(key)
        if running is not None:
            running.deployment.trouble = None
            running.deployment.last_call = self._clock()
            self._wake(key)

    def running(self) -> list[Running]:
        """Everything, in the order of the plan."""
        order = {plan.key: number for number, plan in enumerate(self._plan.deployments)}
        return sorted(self._running.values(), key=lambda r: order.get(r.plan.key, len(order)))

    def find(self, endpoint: str, deployment: str) -> Running | None:
        """The deployment of this name (`endpoint` is "" at the root)."""
        return self._running.get((endpoint.lower(), deployment.lower()))

    def update_of(self, key: Key) -> Update:
        """How the last change of a deployment went."""
        update = self._updates.get(key, Update("Succeeded"))
        running = self._running.get(key)
        if update.state == "Succeeded" and running is not None:
            if running.deployment.state == "failed":
                return Update("Failed", running.deployment.cause)
            if any(_new(replica) for replica in running.deployment.replicas):
                return Update("Updating")
        return update

    def check_memory(self, plan: Plan, placements: Mapping[Key, Placement]) -> None:
        """Raise `Conflict` with the numbers for a deployment that could never be loaded."""
        budget = self._bounds.memory_budget_bytes
        if budget is None:
            return
        for wanted in plan.deployments:
            placement = placements.get(wanted.key)
            if placement is None:
                continue
            need = estimate_bytes(wanted, placement) * wanted.serving.instances
            if need > budget:
                raise Conflict(
                    f"Deployment '{wanted.name}' needs about {need // MIB} MiB and all models"
                    f" together may have {budget // MIB} MiB (memory_budget_mib)."
                )

    def add_own(self, plan: DeploymentPlan, placement: Placement) -> Deployment:
        """A deployment of the server's own, which no plan has and no request can name."""
        running = self._make(structs.replace(plan, endpoint=OWN), placement)
        self._running[running.plan.key] = running
        self._note()
        return running.deployment

    def follow(self, plan: Plan, placements: Mapping[Key, Placement]) -> None:
        """Make `plan` what runs. Returns at once; what is replaced answers until its successor
        can, and what is removed until its calls have ended.

        `placements` holds the deployments that are new or changed.
        """
        wanted = {deployment.key: deployment for deployment in plan.deployments}
        gone = [self._running.pop(key) for key in list(self._running) if _gone(key, wanted)]
        self._plan = plan
        for key, deployment in wanted.items():
            running = self._running.get(key)
            if running is None:
                self._add(deployment, placements[key])
            elif _runs_alike(running.plan, deployment):
                self._stay(running, deployment)
            else:
                self._replace(running, deployment, placements.get(key, running.placement))
        self._publish()
        for running in gone:
            self._updates.pop(running.plan.key, None)
            self._spawn(self._retire(running))

    async def settled(self, key: Key) -> None:
        """Wait until a deployment's last change has gone through or failed."""
        while True:
            task = self._replacing.get(key)
            if task is not None:
                await asyncio.wait({task})
                continue
            running = self._running.get(key)
            if running is None or running.deployment.state != "starting":
                return
            await running.deployment.wait_for_change()

    async def aclose(self) -> None:
        """Drain and end all workers, and remove the sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        runs = [run for running in self._running.values() for run in running.runs]
        await asyncio.gather(*(run.stop() for run in runs))
        self._sockets.remove()

    def _add(self, plan: DeploymentPlan, placement: Placement) -> None:
        running = self._make(plan, placement)
        self._running[plan.key] = running
        if plan.serving.loading == "start" and self._fits(running):
            self._load(running)

    def _make(self, plan: DeploymentPlan, placement: Placement) -> Running:
        serving = plan.serving
        one = calls_per_instance(serving, self._bounds)
        if plan.upstreams:
            one = max(one, sum(upstream.max_calls for upstream in plan.upstreams))
        deployment = Deployment(
            plan,
            placement.card,
            placement.engine,
            max_calls=one * serving.instances,
            created=int(time.time()),
            wake=lambda: self._wake(plan.key),
            clock=self._clock,
        )
        return Running(plan, placement, deployment, next(self._numbers))

    def _stay(self, running: Running, plan: DeploymentPlan) -> None:
        """Nothing of the model's running changes, but perhaps how many do."""
        before, after = running.plan.serving.instances, plan.serving.instances
        running.plan = running.deployment.plan = plan
        running.deployment.max_calls = running.deployment.max_calls // before * after
        self._updates[plan.key] = Update("Succeeded")
        if not running.loaded or before == after:
            return
        while len(running.runs) < after:
            self._start_one(running)
        surplus = running.runs[after:]
        del running.runs[after:]
        for run in surplus:
            self._spawn(self._end(running, run))

    def _replace(self, running: Running, plan: DeploymentPlan, placement: Placement) -> None:
        """Start the successor beside what answers now, and change over when it is ready."""
        key = plan.key
        if (earlier := self._replacing.pop(key, None)) is not None:
            earlier.cancel()
        successor = self._make(plan, placement)
        if not running.loaded:
            self._running[key] = successor
            self._updates[key] = Update("Succeeded")
            return
        self._updates[key] = Update("Updating")
        task = self._spawn(self._change_over(running, successor))
        self._replacing[key] = task

        def forget(done: asyncio.Task[None]) -> None:
            if self._replacing.get(key) is done:
                del self._replacing[key]

        task.add_done_callback(forget)

    async def _change_over(self, running: Running, successor: Running) -> None:
        key = successor.plan.key
        try:
            await self._make_room(successor, beside=running)
            self._load(successor)
            deployment = successor.deployment
            while any(replica.state == "starting" for replica in deployment.replicas):
                await deployment.wait_for_change()
            if deployment.state != "ready":
                raise ModelUnavailable(deployment.cause)
        except ZaffreError as error:
            log.warning("%s stays as it was: %s", running.deployment.full_name, error.message)
            self._updates[key] = Update("Failed", error.message)
            await self._retire(successor)
            return
        except asyncio.CancelledError:
            self._spawn(self._retire(successor))
            raise
        if self._running.get(key) is not running:  # removed or changed meanwhile
            await self._retire(successor)
            return
        self._running[key] = successor
        self._updates[key] = Update("Succeeded")
        self._publish()
        await self._retire(running)

    def _publish(self) -> None:
        """Hand out a new table."""
        found = {running.plan.key: running.deployment for running in self.running()}
        self._on_table(make_table(self._plan, found))
        self._note()

    def _changed(self, deployment: Deployment) -> None:
        deployment.changed()
        self._note()

    def _note(self) -> None:
        self.version += 1
        self._news.set()
        self._news = asyncio.Event()

    # Loading

    def _wake(self, key: Key) -> None:
        """A call waits for a deployment that is not loaded."""
        running = self._running.get(key)
        if running is None or running.loaded:
            return
        self._reserve(running)
        self._spawn(self._load_when_room(running))

    async def _load_when_room(self, running: Running) -> None:
        try:
            await self._make_room(running)
        except ZaffreError as error:
            running.runs.clear()
            running.deployment.replicas.clear()
            running.deployment.trouble = error
            self._changed(running.deployment)
            return
        for run in running.runs:
            run.start()

    def _load(self, running: Running) -> None:
        self._reserve(running)
        for run in running.runs:
            run.start()

    def _reserve(self, running: Running) -> None:
        """Replicas that will start; from now on the deployment counts as loaded."""
        for _ in range(running.plan.serving.instances):
            self._new_run(running)

    def _start_one(self, running: Running) -> None:
        self._new_run(running).start()

    def _new_run(self, running: Running) -> Run:
        deployment, plan = running.deployment, running.plan
        running.started += 1
        name = f"{deployment.full_name}-{running.started}"
        replica = Replica(name, lambda: self._changed(deployment))
        run: Run
        if plan.upstreams:
            run = self._upstream_run(deployment, replica)
        else:
            run = WorkerRun(replica, running.placement, plan.serving, self._bounds, self._sockets)
        deployment.replicas.append(replica)
        running.runs.append(run)
        self._note()
        return run

    async def _make_room(self, wanted: Running, beside: Running | None = None) -> None:
        """Unload what was used longest ago until `wanted` fits. Never a deployment with calls.

        Raises `ModelUnavailable` with the numbers when everything that is loaded is busy.
        """
        budget = self._bounds.memory_budget_bytes
        if budget is None or wanted.plan.upstreams:
            return
        while (used := self._used_bytes(wanted)) + wanted.need_bytes > budget:
            idle = [
                running
                for running in self._running.values()
                if running.loaded
                and not running.busy
                and running not in (wanted, beside)
                and not running.plan.upstreams
            ]
            if not idle:
                raise ModelUnavailable(
                    f"Model '{wanted.plan.name}' needs about {wanted.need_bytes // MIB} MiB;"
                    f" models in use have {used // MIB} of {budget // MIB} MiB. Please retry.",
                    retry_after_s=5,
                )
            oldest = min(idle, key=lambda running: running.deployment.last_call)
            log.info("unloading %s: memory is needed", oldest.deployment.full_name)
            await self._unload(oldest)

    def _fits(self, wanted: Running) -> bool:
        budget = self._bounds.memory_budget_bytes
        return budget is None or self._used_bytes(wanted) + wanted.need_bytes <= budget

    def _used_bytes(self, other_than: Running) -> int:
        return sum(
            running.need_bytes
            for running in self._running.values()
            if running.loaded and running is not other_than and not running.plan.upstreams
        )

    async def _unload(self, running: Running) -> None:
        runs, running.runs = running.runs, []
        running.deployment.replicas.clear()
        for run in runs:
            run.replica.retire()
        held = {running.id_of(run.replica) for run in runs}
        await self._released(held | {running.id} if running.deployment.leaving else held)
        await asyncio.gather(*(run.stop() for run in runs))

    async def _released(self, holdings: Collection[str]) -> None:
        await self._others.released(holdings, self.version)

    async def _retire(self, running: Running) -> None:
        """End a deployment that no new call can reach, when the last call has left it."""
        deployment = running.deployment
        deployment.leaving = True
        try:
            async with asyncio.timeout(DRAIN_S):
                while deployment.in_use:
                    await deployment.wait_for_change()
        except TimeoutError:
            log.warning("%s still has %d calls", deployment.full_name, deployment.calls)
        finally:
            await asyncio.shield(self._unload(running))

    async def _end(self, running: Running, run: Run) -> None:
        deployment = running.deployment
        run.replica.retire()
        try:
            async with asyncio.timeout(DRAIN_S):
                while run.replica.calls:
                    await deployment.wait_for_change()
                await self._released({running.id_of(run.replica)})
        except TimeoutError:
            log.warning("%s still has %d calls", run.replica.name, run.replica.calls)
        finally:
            if run.replica in deployment.replicas:
                deployment.replicas.remove(run.replica)
            await asyncio.shield(run.stop())

    async def _look_after(self) -> None:
        """Measure, and unload what was idle for long enough."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for running in list(self._running.values()):
                _measure(running)
                idle_s, deployment = running.plan.serving.idle_unload_s, running.deployment
                if (
                    idle_s is not None
                    and running.loaded
                    and deployment.state == "ready"
                    and not running.busy
                    and now - deployment.last_call > idle_s
                ):
                    log.info("unloading %s: idle for %g s", deployment.full_name, idle_s)
                    self._spawn(self._unload(running))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _new(replica: Replica) -> bool:
    """Whether it has never been up, and may still come."""
    return replica.state == "starting" and replica.capabilities is None


def _gone(key: Key, wanted: Container[Key]) -> bool:
    return key not in wanted and key[0] != OWN


def _runs_alike(one: DeploymentPlan, other: DeploymentPlan) -> bool:
    """Whether replicas of one plan serve the other."""
    same = structs.replace(one.serving, instances=1) == structs.replace(other.serving, instances=1)
    return same and one.model == other.model and one.upstreams == other.upstreams


def _measure(running: Running) -> None:
    held = [run.memory_bytes() for run in running.runs if run.replica.state == "ready"]
    running.measured_bytes = max([running.measured_bytes, *held])
    tokens = sum(replica.tokens for replica in running.deployment.replicas)
    running.tokens_per_s = max(tokens - running.tokens_seen, 0) / TICK_S
    running.tokens_seen = tokens
