"""Runs: what stands behind one replica, from its start to its end."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import psutil
from msgspec import Struct

from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.client import ModelClient
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import ZaffreError
from zaffre.core.plan import Probe, ServingOptions
from zaffre.registry.launcher import SocketFolder, Started, WorkerSupervisor
from zaffre.routing.replicas import Replica
from zaffre.upstream.client import UpstreamClient

MIB = 1024 * 1024
log = logging.getLogger("zaffre.runs")


class Placement(Struct, frozen=True, kw_only=True):
    """Where a deployment's model is, and what will run it."""

    card: ModelCard
    path: str
    engine: str
    reason: str
    """Why that engine."""
    size_bytes: int = 0
    """Of the model's files."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What holds for all workers where their deployment says nothing."""

    slots: int = 16
    cores: int = 1
    """Those that this process may use."""
    threads: int | None = None
    """Of each model. None: as many as suit what it does."""
    max_waiting: int = 256
    request_timeout_s: float = 180.0
    worker_memory_bytes: int | None = None
    """Bound on each worker's address space."""
    memory_budget_bytes: int | None = None
    """What all workers together may hold; None: no bound."""
    gateways: int = 1
    """Processes that call the workers. More than one: each worker holds its deployment's bound on
    calls per instance, as no gateway sees the others' calls."""


class Run(Protocol):
    """Keeps one replica answering."""

    replica: Replica

    def start(self) -> None:
        """Begin; returns at once."""

    async def stop(self) -> None:
        """Let calls in flight end within a bound, and end."""

    def memory_bytes(self) -> int:
        """What it holds on this machine."""

    def log_lines(self) -> list[str]:
        """The last lines that it wrote."""


class Line(Struct, frozen=True):
    """How a gateway process reaches a worker."""

    socket: str
    secret: str
    timeout_s: float

    def client(self) -> UpstreamClient:
        """A client of its own. Make it in the event loop."""
        return UpstreamClient(
            "http://worker/v1",
            secret=self.secret,
            unix_socket=self.socket,
            timeout_s=self.timeout_s,
        )


class WorkerRun:
    """A worker process of this machine, started again whenever it dies."""

    def __init__(
        self,
        replica: Replica,
        placement: Placement,
        serving: ServingOptions,
        bounds: Bounds,
        sockets: SocketFolder,
    ) -> None:
        self.replica = replica
        self._serving = serving
        self._timeout_s = serving.request_timeout_s or bounds.request_timeout_s
        self.line: Line | None = None
        """To the worker that was started last."""
        self._client: UpstreamClient | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        slots, max_waiting = _room(serving, bounds)
        spec = EngineSpec(
            card=placement.card,
            path=placement.path,
            threads=threads_of(serving, bounds, placement.card),
            slots=slots,
            options=_device_options(placement.engine, serving) | serving.options,
        )
        # A driver maps far more addresses than it uses memory.
        bounded = serving.memory_mib is not None and serving.device != "gpu"
        own = serving.memory_mib * MIB if bounded and serving.memory_mib else None
        self._supervisor = WorkerSupervisor(
            replica.name,
            placement.engine,
            spec,
            sockets=sockets,
            on_started=self._on_started,
            on_ended=self._on_ended,
            max_waiting=max_waiting,
            memory_limit_bytes=own or bounds.worker_memory_bytes,
            environment=serving.environment,
        )

    def start(self) -> None:
        """Begin; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """Let calls in flight end within the worker's own bound, and end it."""
        self._stop_probing()
        await self._supervisor.stop()
        if self._client is not None:
            await self._client.aclose()
        await asyncio.gather(*self._closing)

    def memory_bytes(self) -> int:
        """Resident bytes of the worker and of the processes below it."""
        if self.replica.pid is None:
            return 0
        try:
            worker = psutil.Process(self.replica.pid)
            processes = [worker, *worker.children(recursive=True)]
            return sum(process.memory_info().rss for process in processes)
        except psutil.Error:  # gone between two lines
            return 0

    def log_lines(self) -> list[str]:
        """The last lines of the worker's standard error."""
        return list(self._supervisor.log)

    def _on_started(self, started: Started) -> None:
        old = self._client
        self.line = Line(started.socket, started.secret, self._timeout_s)
        self._client = self.line.client()
        if old is not None:
            self._close_later(old)
        self.replica.pid = started.pid
        self.replica.serves(self._client, started.capabilities)
        probe = watch(
            self.replica,
            self._client,
            started.capabilities,
            self._serving.liveness,
            self._serving.readiness,
            self._supervisor.kill,
        )
        self._probing = asyncio.get_running_loop().create_task(probe)

    def _on_ended(self, cause: str) -> None:
        self._stop_probing()
        self.replica.ended(cause)

    def _stop_probing(self) -> None:
        if self._probing is not None:
            self._probing.cancel()

    def _close_later(self, client: UpstreamClient) -> None:
        task = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _room(serving: ServingOptions, bounds: Bounds) -> tuple[int, int]:
    """Calls that a worker works on, and those that may wait for it."""
    slots = serving.slots or bounds.slots
    if bounds.gateways == 1 or serving.max_calls_per_instance is None:
        return slots, bounds.max_waiting
    most = calls_per_instance(serving, bounds)
    return min(slots, most), max(0, most - slots)


def calls_per_instance(serving: ServingOptions, bounds: Bounds) -> int:
    """Calls at a time for each instance; one more is refused at once."""
    if serving.max_calls_per_instance is not None:
        return 2 * serving.max_calls_per_instance  # contract, section 9
    return (serving.slots or bounds.slots) + bounds.max_waiting


def threads_of(serving: ServingOptions, bounds: Bounds, card: ModelCard) -> int:
    """How many threads a model computes with.

    What generates text gets all cores: with one of two left free it is a third slower alone, and no
    faster beside others. What embeds leaves one, which those need then (decision 14).
    """
    if serving.threads is not None:
        # An instance type may have more processors than this machine.
        return min(serving.threads, bounds.cores) if serving.instance_type else serving.threads
    if bounds.threads is not None:
        return bounds.threads
    generates = not {"chat", "complete"}.isdisjoint(card.operations)
    return bounds.cores if generates else max(1, bounds.cores - 1)


def _device_options(engine: str, serving: ServingOptions) -> dict[str, str | int | float | bool]:
    """What an instance type with an accelerator means to an engine; `llama` uses one anyway."""
    if serving.device == "gpu" and engine == "openvino":
        return {"device": "GPU"}
    return {}


async def watch(
    replica: Replica,
    client: ModelClient,
    capabilities: Capabilities,
    liveness: Probe,
    readiness: Probe,
    kill: Callable[[], None],
) -> None:
    """Ask a replica how it is until it is not answering for too long; then `kill` it.

    One that is not ready gets no calls meanwhile. Worker and probe end together.
    """
    await asyncio.sleep(liveness.initial_delay_s)
    failures = successes = 0
    period_s = min(liveness.period_s, readiness.period_s)
    while True:
        try:
            async with asyncio.timeout(max(liveness.timeout_s, readiness.timeout_s)):
                await client.health()
            failures, successes = 0, successes + 1
        except (ZaffreError, TimeoutError):
            failures, successes = failures + 1, 0
        if failures >= liveness.failure_threshold:
            log.warning("%s did not answer %d probes; killing it", replica.name, failures)
            kill()
            return
        if failures >= readiness.failure_threshold and replica.client is client:
            replica.hides(f"It did not answer {failures} probes.")
        if successes >= readiness.success_threshold and replica.client is None:
            replica.serves(client, capabilities)
        await asyncio.sleep(period_s)
