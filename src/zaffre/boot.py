"""The composition root: settings and declarations become a running gateway, and end in order."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from msgspec import Struct

from zaffre.config.file import ConfigFile, DeploymentDeclaration
from zaffre.config.settings import ConfigurationError, Settings
from zaffre.core.calls import OPERATIONS, Operation
from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.core.media import MediaFetcher
from zaffre.registry import catalogue
from zaffre.registry.detect import choose, detect
from zaffre.registry.launcher import SocketFolder, Started, WorkerSupervisor
from zaffre.registry.store import InstalledModel, ModelStore
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Deployment, Table
from zaffre.service.gateway import Gateway
from zaffre.upstream.client import UpstreamClient

PATH_PREFIX = "path:"
ECHO_MODEL = "echo"
"""The `model` of a deployment of the test double: it has no files."""
MIB = 1024 * 1024


class Plan(Struct, frozen=True):
    """One deployment to start: its model, its engine, and why that one."""

    declaration: DeploymentDeclaration
    model: InstalledModel
    engine: str
    reason: str


def starter_declarations() -> list[DeploymentDeclaration]:
    """What is served when no file says otherwise: the starter models under their own names."""
    return [DeploymentDeclaration(m.name, m.name) for m in catalogue.starters()]


def make_plans(
    declarations: Sequence[DeploymentDeclaration], store: ModelStore, base: Path
) -> list[Plan]:
    """Find every declared model and choose its engine; relative paths start at `base`.

    Raises `ZaffreError` naming the deployment's model when it is missing or damaged.
    """
    return [_make_plan(declaration, store, base) for declaration in declarations]


def _make_plan(declaration: DeploymentDeclaration, store: ModelStore, base: Path) -> Plan:
    model = declaration.model
    if model == ECHO_MODEL:
        card = ModelCard(
            name="echo", format="echo", operations=OPERATIONS, provider="zaffre", dimensions=8
        )
        found = InstalledModel(card, base, base)
    elif model.startswith(PATH_PREFIX):
        path = base / Path(model.removeprefix(PATH_PREFIX)).expanduser()
        found = detect(declaration.name, path)
    else:
        found = store.find(model)
    if declaration.engine is not None:
        return Plan(declaration, found, declaration.engine, "the configuration says so")
    engine, reason = choose(found)
    return Plan(declaration, found, engine, reason)


class RunningGateway:
    """A gateway with its workers. Make it inside the event loop that serves it."""

    def __init__(
        self, plans: Sequence[Plan], defaults: Mapping[str, str], settings: Settings
    ) -> None:
        self._settings = settings
        self._sockets = SocketFolder()
        self._clients: dict[str, UpstreamClient] = {}
        self._closing: set[asyncio.Task[None]] = set()
        created = int(time.time())
        self.deployments = [self._deployment(plan, created) for plan in plans]
        self._supervisors = [
            self._supervisor(plan, deployment)
            for plan, deployment in zip(plans, self.deployments, strict=True)
        ]
        chosen = {cast("Operation", operation): name for operation, name in defaults.items()}
        self._media = _media_fetcher(settings)
        self.gateway = Gateway(Table(self.deployments, chosen), self._media)

    def start(self) -> None:
        """Start all workers; returns at once."""
        for supervisor in self._supervisors:
            supervisor.start()

    async def all_ready(self, tell: Callable[[Deployment], None]) -> None:
        """Wait until every deployment serves or has failed once, telling of each."""

        async def settled(deployment: Deployment) -> None:
            while deployment.replica.state == "starting":
                await deployment.replica.wait_for_change()
            tell(deployment)

        await asyncio.gather(*(settled(deployment) for deployment in self.deployments))

    async def aclose(self) -> None:
        """Drain and end all workers, close all connections, remove the sockets."""
        await asyncio.gather(*(supervisor.stop() for supervisor in self._supervisors))
        await asyncio.gather(*(client.aclose() for client in self._clients.values()))
        await asyncio.gather(*self._closing)
        if self._media is not None:
            self._media.close()
        self._sockets.remove()

    def _deployment(self, plan: Plan, created: int) -> Deployment:
        slots = plan.declaration.slots or self._settings.whole("slots")
        name = plan.declaration.name
        replica = Replica(name, max_calls=slots + self._settings.whole("max_waiting"))
        return Deployment(name, plan.model.card, plan.engine, replica, created)

    def _supervisor(self, plan: Plan, deployment: Deployment) -> WorkerSupervisor:
        settings, declaration = self._settings, plan.declaration
        spec = EngineSpec(
            card=plan.model.card,
            path=str(plan.model.path),
            threads=declaration.threads or settings.whole("threads") or _spare_threads(),
            slots=declaration.slots or settings.whole("slots"),
            options=declaration.options,
        )

        def on_started(started: Started) -> None:
            client = UpstreamClient(
                "http://worker/v1",
                secret=started.secret,
                unix_socket=started.socket,
                timeout_s=settings.number("request_timeout_s"),
            )
            self._replace_client(deployment.name, client)
            deployment.capabilities = started.capabilities
            deployment.replica.pid = started.pid
            deployment.replica.became("ready", client)

        def on_ended(cause: str) -> None:
            deployment.replica.restarts += 1
            deployment.replica.pid = None
            # A model that never ran will hardly run next time; one that did is coming back.
            state = "failed" if deployment.capabilities is None else "starting"
            deployment.replica.became(state, cause=cause)  # type: ignore[arg-type]

        return WorkerSupervisor(
            deployment.name,
            plan.engine,
            spec,
            sockets=self._sockets,
            on_started=on_started,
            on_ended=on_ended,
            max_waiting=settings.whole("max_waiting"),
            memory_limit_bytes=settings.whole("memory_limit_mib") * MIB or None,
        )

    def _replace_client(self, name: str, client: UpstreamClient) -> None:
        old = self._clients.get(name)
        self._clients[name] = client
        if old is not None:
            task = asyncio.get_running_loop().create_task(old.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def declarations_of(config: ConfigFile) -> list[DeploymentDeclaration]:
    """The deployments of a file; the starters when it declares none."""
    return list(config.deployments) or starter_declarations()


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
