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
    threads: int = 1
    max_waiting: int = 256
    request_timeout_s: float = 180.0
    worker_memory_bytes: int | None = None
    """Bound on each worker's address space."""
    memory_budget_bytes: int | None = None
    """What all workers together may hold; None: no bound."""


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
        self._client: UpstreamClient | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        spec = EngineSpec(
            card=placement.card,
            path=placement.path,
            threads=_threads(serving, bounds),
            slots=serving.slots or bounds.slots,
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
            max_waiting=bounds.max_waiting,
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
        self._client = UpstreamClient(
            "http://worker/v1",
            secret=started.secret,
            unix_socket=started.socket,
            timeout_s=self._timeout_s,
        )
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


def _threads(serving: ServingOptions, bounds: Bounds) -> int:
    """An instance type may have more processors than this machine."""
    if serving.threads is None:
        return bounds.threads
    return (
        serving.threads if serving.instance_type is None else min(serving.threads, bounds.threads)
    )


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
