"""Following: the deployments of the first gateway process, kept the same in a sibling."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from zaffre.core.errors import ModelUnavailable, ZaffreError
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Table, make_table
from zaffre.service.fleet import Key, UpstreamRun
from zaffre.service.siblings.shapes import (
    Awaited,
    DeploymentShown,
    ReplicaShown,
    Report,
    Snapshot,
    Trouble,
    Use,
)
from zaffre.service.siblings.stands import Stand, UpstreamStand, WorkerStand

REPORT_S = 0.5
"""Between two reports of use."""
RETRY_S = 1.0
log = logging.getLogger("zaffre.siblings")


class FirstProcess(Protocol):
    """The way to the first gateway process. All raise `ZaffreError`."""

    async def snapshot(self, after: int) -> Snapshot | None:
        """Its fleet, once the version is above `after`; None when there was no news for a while."""

    async def report(self, report: Report) -> None:
        """Tell it what is in use here."""

    async def wake(self, awaited: Awaited) -> None:
        """A call waits for a deployment that is not loaded."""

    async def own(self) -> Awaited:
        """Have it make the server's own deployment for content safety, if there is none."""


class Followed:
    """One deployment, and the stands behind its replicas."""

    def __init__(
        self, shown: DeploymentShown, wake: Callable[[], None], make_run: UpstreamRun
    ) -> None:
        self.id = shown.id
        self.deployment = Deployment(
            shown.plan,
            shown.card,
            shown.engine,
            max_calls=shown.max_calls,
            created=shown.created,
            wake=wake,
        )
        self._make_run = make_run
        self.stands: dict[str, Stand] = {}

    def follow(self, shown: DeploymentShown) -> list[tuple[str, Stand]]:
        """It is now like this. What stood behind replicas that are no more, by id, is answered."""
        deployment = self.deployment
        deployment.plan, deployment.max_calls = shown.plan, shown.max_calls
        deployment.trouble = _trouble(shown.trouble)
        if shown.capabilities is not None:
            deployment.learn(shown.capabilities)
        wanted = {replica.id: replica for replica in shown.replicas}
        gone = [(one, self.stands.pop(one)) for one in list(self.stands) if one not in wanted]
        for _, stand in gone:
            deployment.replicas.remove(stand.replica)
            stand.replica.retire()
        for holding, replica in wanted.items():
            if holding not in self.stands:
                self.stands[holding] = self._new_stand(replica)
            self.stands[holding].follow(replica)
        deployment.changed()
        return gone

    def uses(self) -> dict[str, Use]:
        """What is going on, by id."""
        deployment = self.deployment
        found = {one: Use(s.replica.calls, s.replica.tokens) for one, s in self.stands.items()}
        return found | {self.id: Use(deployment.calls, idle_s=deployment.idle_s)}

    def _new_stand(self, shown: ReplicaShown) -> Stand:
        replica = Replica(shown.name, self.deployment.changed)
        self.deployment.replicas.append(replica)
        if self.deployment.plan.upstreams:
            return UpstreamStand(self.deployment, replica, self._make_run)
        return WorkerStand(replica)


class FollowedFleet:
    """All deployments of the first process, as far as a sibling calls them.

    `on_table` gets each new table.
    """

    def __init__(
        self, first: FirstProcess, *, upstream_run: UpstreamRun, on_table: Callable[[Table], None]
    ) -> None:
        self._first = first
        self._upstream_run = upstream_run
        self._on_table = on_table
        self._followed: dict[str, Followed] = {}
        self._by_key: dict[Key, Deployment] = {}
        self._own: Key | None = None
        self._held: set[str] = set()
        self._version = 0
        self._applied = asyncio.Event()
        self._to_tell = asyncio.Event()
        self._waking: set[Key] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take over what the first process has, and follow it from then on."""
        first = await self._first.snapshot(0)
        if first is not None:
            self.follow(first)
        self._spawn(self._keep_following())
        self._spawn(self._keep_reporting())

    async def own_deployment(self) -> Deployment:
        """The server's own, for content safety. Raises `ZaffreError`."""
        if self._own is None:
            awaited = await self._first.own()
            while self._version < awaited.version:
                await self._applied.wait()
            self._own = awaited.endpoint, awaited.name
        return self._by_key[self._own]

    def follow(self, snapshot: Snapshot) -> None:
        """Make everything as `snapshot` has it. Calls on what it leaves out go on to their end."""
        shown = {one.id: one for one in snapshot.deployments}
        gone = [self._followed.pop(one) for one in list(self._followed) if one not in shown]
        for holding, deployment in shown.items():
            if holding not in self._followed:
                wake = self._waker(deployment.plan.key)
                self._followed[holding] = Followed(deployment, wake, self._upstream_run)
            for one, stand in self._followed[holding].follow(deployment):
                self._hold(one, self._let_go(self._followed[holding].deployment, stand))
        for followed in gone:
            self._hold(followed.id, self._let_all_go(followed))
        self._by_key = {
            one.plan.key: self._followed[one.id].deployment for one in snapshot.deployments
        }
        self._on_table(make_table(snapshot.plan, self._by_key))
        self._version = snapshot.version
        self._applied.set()
        self._applied = asyncio.Event()
        self._to_tell.set()

    async def aclose(self) -> None:
        """Stop following, and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        stands = [stand for one in self._followed.values() for stand in one.stands.values()]
        await asyncio.gather(*(stand.aclose() for stand in stands))

    def _hold(self, holding: str, letting_go: Coroutine[Any, Any, None]) -> None:
        """The first process waits with stopping workers for the end of `letting_go`."""

        async def held() -> None:
            try:
                await letting_go
            finally:
                self._held.discard(holding)
                self._to_tell.set()

        self._held.add(holding)
        self._spawn(held())

    async def _let_go(self, deployment: Deployment, stand: Stand) -> None:
        while stand.replica.calls:
            await deployment.wait_for_change()
        await stand.aclose()

    async def _let_all_go(self, followed: Followed) -> None:
        deployment = followed.deployment
        deployment.leaving = True
        while deployment.in_use:
            await deployment.wait_for_change()
        for stand in followed.stands.values():
            stand.replica.retire()
            await stand.aclose()

    def _waker(self, key: Key) -> Callable[[], None]:
        async def ask() -> None:
            try:
                await self._first.wake(Awaited(*key))
            except ZaffreError as error:
                log.warning("nobody was told that %s is wanted: %s", "/".join(key), error.message)
            finally:
                self._waking.discard(key)

        def wake() -> None:
            if key not in self._waking:
                self._waking.add(key)
                self._spawn(ask())

        return wake

    async def _keep_following(self) -> None:
        while True:
            try:
                news = await self._first.snapshot(self._version)
            except ZaffreError as error:
                log.warning("no news from the first process: %s", error.message)
                await asyncio.sleep(RETRY_S)
                continue
            if news is not None:
                self.follow(news)

    async def _keep_reporting(self) -> None:
        """Tell at once what the first process may wait for, and use now and then."""
        told: object = None
        while True:
            self._to_tell.clear()
            report, moved = self._report(), self._moved()
            if (report.applied, report.held, moved) != told:
                try:
                    await self._first.report(report)
                    told = (report.applied, report.held, moved)
                except ZaffreError as error:
                    log.warning("the first process was not told: %s", error.message)
            try:
                async with asyncio.timeout(REPORT_S):
                    await self._to_tell.wait()
            except TimeoutError:
                continue

    def _report(self) -> Report:
        uses = [one.uses() for one in self._followed.values()]
        return Report(
            applied=self._version,
            held=frozenset(self._held),
            uses={holding: use for found in uses for holding, use in found.items()},
        )

    def _moved(self) -> list[tuple[int, float]]:
        """The same as long as nobody calls."""
        every = [followed.deployment for followed in self._followed.values()]
        return [(deployment.calls, deployment.last_call) for deployment in every]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _trouble(shown: Trouble | None) -> ZaffreError | None:
    if shown is None:
        return None
    return ModelUnavailable(shown.message, retry_after_s=shown.retry_after_s)
