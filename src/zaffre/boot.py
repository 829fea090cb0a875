"""The composition root: settings and a plan become a running gateway, and end in order."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from zaffre.config.declarations import Declared, read_files
from zaffre.config.settings import ConfigurationError, Settings
from zaffre.config.state import PlanStore, SavedPlan
from zaffre.core.calls import OPERATIONS
from zaffre.core.cards import ModelCard
from zaffre.core.media import MediaFetcher
from zaffre.core.plan import DeploymentPlan, Plan
from zaffre.registry import catalogue
from zaffre.registry.detect import choose, detect
from zaffre.registry.store import InstalledModel, ModelStore
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Table
from zaffre.service.fleet import Fleet, Key
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.service.runs import MIB, Bounds, Placement
from zaffre.service.upstreams import UpstreamRun, upstream_placement

PATH_PREFIX = "path:"
ECHO_MODEL = "echo"
"""The `model` of a deployment of the test double: it has no files."""


def starter_plan() -> Plan:
    """What is served when nothing says otherwise: the starter models under their own names."""
    starters = catalogue.starters()
    return Plan(deployments=tuple(DeploymentPlan(name=m.name, model=m.name) for m in starters))


def locate(plan: DeploymentPlan, store: ModelStore) -> Placement:
    """Where a deployment's model is, and which engine runs it.

    Raises `ZaffreError` naming the model when it is missing or damaged.
    """
    if plan.upstreams:
        return upstream_placement(plan)
    found = _find(plan, store)
    if plan.serving.engine is not None:
        engine, reason = plan.serving.engine, "the configuration says so"
    else:
        engine, reason = choose(found)
    size = 0 if found.card.format == "echo" else found.size_bytes
    return Placement(
        card=found.card, path=str(found.path), engine=engine, reason=reason, size_bytes=size
    )


def _find(plan: DeploymentPlan, store: ModelStore) -> InstalledModel:
    if plan.model == ECHO_MODEL:
        card = ModelCard(
            name="echo", format="echo", operations=OPERATIONS, provider="zaffre", dimensions=8
        )
        return InstalledModel(card, store.home, store.home)
    if plan.model.startswith(PATH_PREFIX):
        path = Path(plan.model.removeprefix(PATH_PREFIX)).expanduser()
        return detect(plan.name, path)
    return store.find(plan.model)


class RunningGateway:
    """A gateway with its fleet. Make it inside the event loop that serves it.

    `files` are read again on demand; what is changed while it runs is kept in the store's home.
    """

    def __init__(self, settings: Settings, store: ModelStore, files: Sequence[Path] = ()) -> None:
        self._media = _media_fetcher(settings)
        self.gateway = Gateway(Table(), self._media)
        self.fleet = Fleet(_bounds(settings), upstream_run=UpstreamRun, on_table=self._use_table)
        self._files = files
        self._state = PlanStore(store.home)
        self._said = Plan()
        self.platform = Platform(
            self.fleet,
            lambda plan: locate(plan, store),
            keep=self._keep,
            read_again=self._read_again,
        )

    def start(self, declared: Declared, placements: Mapping[Key, Placement]) -> None:
        """Start all workers; returns at once."""
        self._said = declared.said
        self.fleet.start()
        self.platform.begin(declared.plan, placements)

    async def all_ready(self, tell: Callable[[Deployment], None]) -> None:
        """Wait until every deployment serves or has failed once, telling of each."""

        async def settled(deployment: Deployment) -> None:
            while deployment.state == "starting":
                await deployment.wait_for_change()
            tell(deployment)

        deployments = [running.deployment for running in self.fleet.running()]
        await asyncio.gather(*(settled(deployment) for deployment in deployments))

    async def aclose(self) -> None:
        """Drain and end all workers, close all connections, remove the sockets."""
        await self.gateway.aclose()
        await self.fleet.aclose()
        if self._media is not None:
            self._media.close()

    def _keep(self, plan: Plan) -> None:
        self._state.save(SavedPlan(plan, self._said))

    def _read_again(self) -> Plan:
        running = SavedPlan(self.platform.plan, self._said)
        declared = read_files(self._files, running, starter_plan())
        self._said = declared.said
        return declared.plan

    def _use_table(self, table: Table) -> None:
        self.gateway.table = table


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        slots=settings.whole("slots"),
        threads=settings.whole("threads") or _spare_threads(),
        max_waiting=settings.whole("max_waiting"),
        request_timeout_s=settings.number("request_timeout_s"),
        worker_memory_bytes=settings.whole("memory_limit_mib") * MIB or None,
        memory_budget_bytes=settings.whole("memory_budget_mib") * MIB or None,
    )


def _media_fetcher(settings: Settings) -> MediaFetcher | None:
    """The fetcher, where hosts are named. Its libraries are loaded for nobody else."""
    hosts = [host.strip() for host in settings.text("media_hosts").split(",") if host.strip()]
    if not hosts:
        return None
    try:
        module = import_module("zaffre.upstream.media")
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"media_hosts needs the package '{missing.name}': pip install 'zaffre[media]'."
        ) from None
    fetcher: MediaFetcher = module.GuardedFetcher(
        hosts,
        max_bytes=settings.whole("media_max_mib") * MIB,
        timeout_s=settings.number("media_timeout_s"),
    )
    return fetcher


def _spare_threads() -> int:
    """One core is left to the gateway: a competitor on the last one halves an engine's speed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) - 1)
