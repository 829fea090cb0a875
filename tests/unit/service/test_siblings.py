"""Siblings: what the first process waits for, and how a sibling keeps up with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from zaffre.core.calls import OPERATIONS
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed, ModelUnavailable
from zaffre.core.plan import DeploymentPlan, Plan
from zaffre.routing.table import Selector, Table
from zaffre.service.runs import Line
from zaffre.service.siblings.following import FollowedFleet
from zaffre.service.siblings.leading import Siblings
from zaffre.service.siblings.shapes import (
    Awaited,
    DeploymentShown,
    ReplicaShown,
    Report,
    Snapshot,
    Trouble,
)

LIMIT_S = 20.0
ABLE = Capabilities(model="m", engine="e", operations=frozenset(OPERATIONS))
UP = ReplicaShown("1/m-1", "m-1", "ready", "", ABLE, Line("/nowhere.sock", "secret", 1.0))


def shown(*replicas: ReplicaShown, one: str = "1", **fields: Any) -> DeploymentShown:
    return DeploymentShown(
        id=one,
        plan=DeploymentPlan(name="m", model="echo"),
        card=ModelCard(name="m", format="echo", operations=OPERATIONS),
        engine="echo",
        max_calls=8,
        created=0,
        capabilities=None,
        trouble=fields.get("trouble"),
        replicas=replicas,
    )


def snapshot(version: int, *deployments: DeploymentShown) -> Snapshot:
    plan = Plan(deployments=tuple(deployment.plan for deployment in deployments))
    return Snapshot(version, plan, deployments)


class First:
    """A first process that shows what it is told to, and keeps what it hears."""

    def __init__(self) -> None:
        self.shows: asyncio.Queue[Snapshot] = asyncio.Queue()
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.wakes: asyncio.Queue[Awaited] = asyncio.Queue()
        self.deaf = False
        self.asked_for_own = 0

    async def snapshot(self, after: int) -> Snapshot | None:
        return await self.shows.get()

    async def report(self, report: Report) -> None:
        if self.deaf:
            self.deaf = False
            raise EngineFailed("It is not there.")
        self.reports.put_nowait(report)

    async def wake(self, awaited: Awaited) -> None:
        self.wakes.put_nowait(awaited)

    async def own(self) -> Awaited:
        self.asked_for_own += 1
        return Awaited("", "m", 2)

    async def said(self, applied: int, *held: str) -> Report:
        """The next report of that version and with that in use."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                report = await self.reports.get()
                if (report.applied, report.held) == (applied, frozenset(held)):
                    return report


class Followed:
    """A fleet that follows `first`, and its last table."""

    def __init__(self) -> None:
        self.first = First()
        self.table = Table()
        self.fleet = FollowedFleet(self.first, upstream_run=None, on_table=self._use)  # type: ignore[arg-type]

    def _use(self, table: Table) -> None:
        self.table = table

    @property
    def deployment(self) -> Any:
        return self.table.describe(Selector())[1]


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    followed = Followed()
    followed.first.shows.put_nowait(snapshot(1, shown(UP)))
    await followed.fleet.start()
    yield followed
    await followed.fleet.aclose()


async def test_what_is_gone_is_held_until_its_last_call_has_ended(followed: Followed):
    """Given a call on a deployment, when another takes its name, then the first process hears that
    the old one is in use, and when it is not any more."""
    old = followed.deployment
    with old.admitted():
        successor = structs.replace(UP, id="2/m-1")
        followed.first.shows.put_nowait(snapshot(2, shown(successor, one="2")))
        await followed.first.said(2, "1")
        assert followed.deployment is not old
        replica, _ = await old.ready_replica()
        assert replica.name == "m-1"
    await followed.first.said(2)


async def test_a_call_that_waits_for_its_quota_holds_as_well(followed: Followed):
    old = followed.deployment
    with old.expecting():
        followed.first.shows.put_nowait(snapshot(2, shown(UP, one="2")))
        await followed.first.said(2, "1")
    await followed.first.said(2)


async def test_a_replica_that_is_gone_is_held_while_it_answers(followed: Followed):
    replica, _ = await followed.deployment.ready_replica()
    with replica.borrowed():
        followed.first.shows.put_nowait(snapshot(2, shown()))
        await followed.first.said(2, "1/m-1")
        assert followed.deployment.state == "unloaded"
    await followed.first.said(2)


async def test_the_same_worker_keeps_its_connections(followed: Followed):
    _, client = await followed.deployment.ready_replica()
    quiet = structs.replace(UP, state="starting", cause="silent")
    followed.first.shows.put_nowait(snapshot(2, shown(quiet)))
    await followed.first.said(2)
    assert followed.deployment.state == "starting"
    followed.first.shows.put_nowait(snapshot(3, shown(UP)))
    await followed.first.said(3)
    assert (await followed.deployment.ready_replica())[1] is client


async def test_another_worker_is_called_anew(followed: Followed):
    _, client = await followed.deployment.ready_replica()
    another = structs.replace(UP, line=Line("/other.sock", "secret", 1.0))
    followed.first.shows.put_nowait(snapshot(2, shown(another)))
    replica, successor = await followed.deployment.successor(client)
    assert successor is not client
    assert replica.name == "m-1"


async def test_a_call_wakes_what_is_not_loaded_once_and_hears_of_trouble(followed: Followed):
    followed.first.shows.put_nowait(snapshot(2, shown()))
    await followed.first.said(2)
    waiting = [asyncio.create_task(followed.deployment.ready_replica()) for _ in range(3)]
    async with asyncio.timeout(LIMIT_S):
        assert await followed.first.wakes.get() == Awaited("", "m")
    full = Trouble("There is no room.", 5)
    followed.first.shows.put_nowait(snapshot(3, shown(trouble=full)))
    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, ModelUnavailable)
        assert (outcome.message, outcome.retry_after_s) == ("There is no room.", 5)
    assert followed.first.wakes.empty()


async def test_a_report_that_was_lost_is_sent_again(followed: Followed):
    await followed.first.said(1)
    followed.first.deaf = True
    followed.first.shows.put_nowait(snapshot(2, shown(UP)))
    await followed.first.said(2)


async def test_the_servers_own_deployment_is_there_once_its_snapshot_is(followed: Followed):
    asking = asyncio.create_task(followed.fleet.own_deployment())
    await followed.first.said(1)
    assert not asking.done()
    followed.first.shows.put_nowait(snapshot(2, shown(UP)))
    async with asyncio.timeout(LIMIT_S):
        assert (await asking).name == "m"
    assert await followed.fleet.own_deployment() is followed.deployment
    assert followed.first.asked_for_own == 1


def report(applied: int, *held: str) -> Report:
    return Report(applied, frozenset(held), {})


async def test_the_first_process_waits_for_all_who_may_still_call():
    """Given two siblings, when something is taken away, then it is free once both have seen that
    and neither uses it."""
    siblings = Siblings()
    for name in ("2.1", "3.1"):
        siblings.joined(name)
    waiting = asyncio.create_task(siblings.released({"7"}, version=4))
    siblings.said("2.1", report(4))
    siblings.said("3.1", report(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    siblings.said("3.1", report(4, "7", "8"))
    await asyncio.sleep(0)
    assert not waiting.done()
    siblings.said("3.1", report(4, "8"))
    async with asyncio.timeout(LIMIT_S):
        await waiting


async def test_nobody_waits_for_the_dead():
    siblings = Siblings()
    siblings.joined("2.1")
    waiting = asyncio.create_task(siblings.released({"7"}, version=1))
    await asyncio.sleep(0)
    siblings.left("2.1")
    async with asyncio.timeout(LIMIT_S):
        await waiting


async def test_nobody_waits_for_ever():
    siblings = Siblings(release_s=0.01)
    siblings.joined("2.1")
    async with asyncio.timeout(LIMIT_S):
        await siblings.released({"7"}, version=1)
