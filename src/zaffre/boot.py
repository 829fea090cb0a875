"""The composition root: settings and a plan become a running gateway, and end in order."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from zaffre.auth.assembly import make_chain
from zaffre.auth.keystore import ConfiguredKey
from zaffre.auth.opening import anybody
from zaffre.config.declarations import Declared, read_files
from zaffre.config.gathering import StartValues
from zaffre.config.settings import ConfigurationError, Settings
from zaffre.config.state import PlanStore, SavedPlan
from zaffre.core.calls import OPERATIONS
from zaffre.core.cards import ModelCard
from zaffre.core.errors import InvalidRequest, ZaffreError
from zaffre.core.media import MediaFetcher
from zaffre.core.metering import UsageQuery, UsageSum
from zaffre.core.plan import DeploymentPlan, Plan, ServingOptions
from zaffre.metering.ledger_file import FILE_NAME as LEDGER_FILE
from zaffre.metering.stores import open_ledger, open_quota
from zaffre.registry import catalogue
from zaffre.registry.detect import choose, detect
from zaffre.registry.prices import find_prices
from zaffre.registry.resolve import NeedsPull, pull_model, resolve
from zaffre.registry.store import InstalledModel, ModelStore
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Table
from zaffre.service.credentials import Credentials
from zaffre.service.filter_models import FilterModels
from zaffre.service.fleet import OWN, Fleet, Key
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.service.runs import MIB, Bounds, Placement
from zaffre.service.screening import Screening
from zaffre.service.siblings.channel import Channel
from zaffre.service.siblings.following import FollowedFleet
from zaffre.service.siblings.leading import Leader, Siblings
from zaffre.service.upstreams import UpstreamRun, upstream_placement

PATH_PREFIX = "path:"
QUOTA_FILE = "quota.db"
ECHO_MODEL = "echo"
"""The `model` of a deployment of the test double: it has no files."""


def starter_plan() -> Plan:
    """What is served when nothing says otherwise: the starter models under their own names."""
    starters = catalogue.starters()
    return Plan(deployments=tuple(DeploymentPlan(name=m.name, model=m.name) for m in starters))


def locate(plan: DeploymentPlan, store: ModelStore) -> Placement:
    """Where a deployment's model is, and which engine runs it. Blocks, and pulls what is missing.

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
    found = resolve(plan.model, store)
    return pull_model(store, found.model, os.environ) if isinstance(found, NeedsPull) else found


class Given(Struct, frozen=True):
    """What a server is started with."""

    settings: Settings
    store: ModelStore
    declared: Declared
    files: tuple[Path, ...] = ()
    """Read again on demand."""
    keys: tuple[ConfiguredKey, ...] = ()
    """From flags and the configuration."""


class SiblingGiven(Struct, frozen=True, kw_only=True):
    """What a sibling process is told, once, on its standard input."""

    name: str
    """Of this life of it."""
    settings: Settings
    home: str
    start: StartValues
    keys: tuple[ConfiguredKey, ...]
    listener_fd: int
    """The listening socket, inherited."""
    control: str
    """Path of the Unix socket on which the first process answers siblings."""
    secret: str
    """What that process wants to see."""
    parent_pid: int
    """The sibling ends when this process does."""


class Front(ABC):
    """What every gateway process on a port has: who may call, what is counted, how calls run."""

    def __init__(
        self,
        settings: Settings,
        store: ModelStore,
        start: StartValues,
        keys: Sequence[ConfiguredKey],
    ) -> None:
        self._media = _media_fetcher(settings)
        self.door = make_chain(
            store.home,
            configured=keys,
            issuers=start.auth.issuers,
            anybody=anybody(settings.text("host"), settings.text("allow_no_key")),
        )
        self._ledger = open_ledger(
            store.home / LEDGER_FILE,
            settings.optional_text("ledger_url"),
            retention_days=settings.whole("ledger_retention_days") or None,
        )
        self._quota = open_quota(_quota_url(settings, store.home))
        self._filters = FilterModels(
            start.content_safety,
            root_policy=settings.text("content_safety"),
            installed=lambda name: _installed(store, name),
            table=lambda: self.gateway.table,
            own=self.own_deployment,
        )
        self._screening = Screening(self._filters.screens(), settings.text("content_safety"))
        self.gateway = Gateway(
            Table(),
            self._media,
            ledger=self._ledger,
            quota=self._quota,
            screening=self._screening,
        )

    @abstractmethod
    async def own_deployment(self) -> Deployment:
        """The deployment of the server's own that content safety asks for vectors."""

    def _use_table(self, table: Table) -> None:
        self.gateway.table = table

    def _open(self) -> None:
        self._uses = asyncio.get_running_loop().create_task(self.door.keep_uses())

    async def _end_copies(self) -> None:
        self._uses.cancel()
        await self.gateway.aclose()

    async def _let_go(self) -> None:
        await self._filters.aclose()
        await self._quota.aclose()
        if self._ledger is not None:
            await self._ledger.aclose()
        await self.door.aclose()
        if self._media is not None:
            self._media.close()


class RunningGateway(Front):
    """A gateway with all its parts. Make it inside the event loop that serves it.

    What is changed while it runs is kept in the store's home. Raises `ZaffreError` for anything
    that cannot be used.
    """

    def __init__(self, given: Given) -> None:
        settings, store = given.settings, given.store
        super().__init__(settings, store, given.declared.start, given.keys)
        self._given = given
        self._state = PlanStore(store.home)
        self._said = given.declared.said
        siblings = Siblings()
        gateways = settings.whole("gateways")
        self.fleet = Fleet(
            _bounds(settings),
            upstream_run=partial(UpstreamRun, gateways=gateways),
            on_table=self._use_table,
            others=None if gateways == 1 else siblings,
        )
        self.leader = Leader(self.fleet, siblings)
        self.platform = Platform(
            self.fleet,
            lambda plan: locate(plan, store),
            keep=self._keep,
            check=self._check,
            read_again=self._read_again,
            credentials=Credentials(self.door.keys, self.door.endpoint_tokens),
            read_usage=self._read_usage,
        )

    def start(self, placements: Mapping[Key, Placement]) -> None:
        """Start all workers; returns at once."""
        self.fleet.start()
        self.platform.begin(self._given.declared.plan, placements)
        self._open()

    async def all_ready(self, tell: Callable[[Deployment], None]) -> None:
        """Wait until every deployment serves or has failed once, telling of each."""

        async def settled(deployment: Deployment) -> None:
            while deployment.state == "starting":
                await deployment.wait_for_change()
            tell(deployment)

        deployments = [r.deployment for r in self.fleet.running() if r.loaded]
        await asyncio.gather(*(settled(deployment) for deployment in deployments))

    async def aclose(self) -> None:
        """Drain and end all workers, close all connections, remove the sockets."""
        await self._end_copies()
        await self.fleet.aclose()
        await self._let_go()

    async def own_deployment(self) -> Deployment:
        """See `Front`. It is loaded at its first use."""
        return self.find_own()

    def find_own(self) -> Deployment:
        """The deployment of the server's own, made at the first asking.

        Raises `ZaffreError` when its model is not there.
        """
        name = self._given.declared.start.content_safety.embedding
        running = self.fleet.find(OWN, name)
        if running is not None:
            return running.deployment
        plan = DeploymentPlan(name=name, model=name, serving=ServingOptions(loading="first_use"))
        return self.fleet.add_own(plan, locate(plan, self._given.store))

    def _keep(self, plan: Plan) -> None:
        self._state.save(SavedPlan(plan, self._said))

    def _read_again(self) -> Plan:
        running = SavedPlan(self.platform.plan, self._said)
        declared = read_files(self._given.files, running, starter_plan())
        self._said = declared.said
        return declared.plan

    def _check(self, plan: Plan) -> None:
        self._screening.check(plan)
        self._filters.check(plan)

    async def _read_usage(self, query: UsageQuery) -> list[UsageSum]:
        if self._ledger is None:
            raise InvalidRequest("This server keeps no ledger: its setting ledger_url is off.")
        prices = await asyncio.to_thread(find_prices, self._given.store)
        return await self._ledger.usage(query, prices)


class SiblingGateway(Front):
    """A gateway that calls what the first process on its port runs.

    Make it inside the event loop that serves it. Raises `ZaffreError` for anything that cannot be
    used.
    """

    def __init__(self, given: SiblingGiven) -> None:
        store = ModelStore(Path(given.home))
        super().__init__(given.settings, store, given.start, given.keys)
        self.first = Channel(given.control, given.secret, given.name)
        self.fleet = FollowedFleet(
            self.first,
            upstream_run=partial(UpstreamRun, gateways=given.settings.whole("gateways")),
            on_table=self._use_table,
        )

    async def start(self) -> None:
        """Take over what runs; returns when requests can be answered. Raises `ZaffreError`."""
        self._open()
        await self.fleet.start()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._end_copies()
        await self.fleet.aclose()
        await self._let_go()
        await self.first.aclose()

    async def own_deployment(self) -> Deployment:
        """See `Front`. It is made by the first process."""
        return await self.fleet.own_deployment()


def _installed(store: ModelStore, name: str) -> bool:
    try:
        store.find(name)
    except ZaffreError:
        return False
    return True


def _quota_url(settings: Settings, home: Path) -> str:
    """Where quotas are counted. Raises `ConfigurationError` when siblings could not see it."""
    url = settings.optional_text("quota_url") or f"sqlite:{home / QUOTA_FILE}"
    if settings.whole("gateways") > 1 and url.startswith("memory:"):
        raise ConfigurationError(
            "quota_url: memory: is one process's own, and gateways is more than 1. Leave it out, or"
            " use sqlite:PATH."
        )
    return url


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        gateways=settings.whole("gateways"),
        slots=settings.whole("slots"),
        cores=_cores(),
        threads=settings.whole("threads") or None,
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


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
