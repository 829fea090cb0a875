"""Leading: what the first gateway process shows its siblings, and what it knows of them."""

import asyncio
import logging
from collections.abc import Collection

from zaffre.routing.replicas import Replica
from zaffre.service.fleet import Fleet, Running
from zaffre.service.runs import Run, WorkerRun
from zaffre.service.siblings.shapes import (
    DeploymentShown,
    ReplicaShown,
    Report,
    Snapshot,
    Trouble,
    Use,
)

RELEASE_S = 300.0
"""How long siblings may have calls on what was replaced, removed or unloaded."""
log = logging.getLogger("zaffre.siblings")
_NO_REPORT = Report(applied=0, held=frozenset(), uses={})


class Siblings:
    """What the siblings have last said. It is the fleet's `Others`."""

    def __init__(self, release_s: float = RELEASE_S) -> None:
        self._release_s = release_s
        self._reports: dict[str, Report] = {}
        self._news = asyncio.Event()

    def joined(self, name: str) -> None:
        """One asks for the first time: from now on it counts."""
        self._reports.setdefault(name, _NO_REPORT)

    def left(self, name: str) -> None:
        """One is gone, and its calls with it."""
        self._reports.pop(name, None)
        self._tell()

    def said(self, name: str, report: Report) -> Report:
        """Keep what one says of itself; what it had said before."""
        before = self._reports.get(name, _NO_REPORT)
        self._reports[name] = report
        self._tell()
        return before

    def calls(self, holding: str) -> int:
        """Calls of all of them on a deployment or replica."""
        found = (report.uses.get(holding) for report in self._reports.values())
        return sum(use.calls for use in found if use is not None)

    async def released(self, holdings: Collection[str], version: int) -> None:
        """See `zaffre.service.others.Others`."""
        wanted = frozenset(holdings)
        try:
            async with asyncio.timeout(self._release_s):
                while wanted and any(
                    report.applied < version or report.held & wanted
                    for report in self._reports.values()
                ):
                    await self._news.wait()
        except TimeoutError:
            log.warning("a sibling still has calls on %s", ", ".join(sorted(wanted)))

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Leader:
    """The fleet as siblings see it, and their use of it as the fleet sees it."""

    def __init__(self, fleet: Fleet, siblings: Siblings) -> None:
        self._fleet = fleet
        self._siblings = siblings

    async def snapshot(self, name: str, after: int) -> Snapshot:
        """The fleet, once its version is above `after`; for the sibling of this name."""
        self._siblings.joined(name)
        await self._fleet.news(after)
        return Snapshot(
            version=self._fleet.version,
            plan=self._fleet.plan,
            deployments=tuple(_shown(running) for running in self._fleet.running()),
        )

    def take(self, name: str, report: Report) -> None:
        """Count a sibling's calls and tokens as use of the fleet."""
        before = self._siblings.said(name, report)
        for running in self._fleet.running():
            use = report.uses.get(running.id)
            if use is not None:
                running.deployment.used(use.idle_s)
            self._count(running, report.uses, before.uses)

    def forget(self, name: str) -> None:
        """A sibling's process is gone."""
        self._siblings.left(name)
        for running in self._fleet.running():
            self._count(running, {}, {})

    def _count(self, running: Running, uses: dict[str, Use], before: dict[str, Use]) -> None:
        running.deployment.calls_elsewhere = self._siblings.calls(running.id)
        for run in running.runs:
            replica, holding = run.replica, running.id_of(run.replica)
            replica.calls_elsewhere = self._siblings.calls(holding)
            grown = uses.get(holding, Use(0)).tokens - before.get(holding, Use(0)).tokens
            replica.tokens += max(0, grown)


def _shown(running: Running) -> DeploymentShown:
    deployment, trouble = running.deployment, running.deployment.trouble
    return DeploymentShown(
        id=running.id,
        plan=deployment.plan,
        card=deployment.card,
        engine=deployment.engine,
        max_calls=deployment.max_calls,
        created=deployment.created,
        capabilities=deployment.capabilities,
        trouble=None if trouble is None else Trouble(trouble.message, trouble.retry_after_s or 1),
        replicas=tuple(
            _shown_replica(running.id_of(run.replica), run.replica, run)
            for run in running.runs
            if run.replica.state != "stopped"
        ),
    )


def _shown_replica(holding: str, replica: Replica, run: Run) -> ReplicaShown:
    return ReplicaShown(
        id=holding,
        name=replica.name,
        state=replica.state,
        cause=replica.cause,
        capabilities=replica.capabilities,
        line=run.line if isinstance(run, WorkerRun) else None,
    )
