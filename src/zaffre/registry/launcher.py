"""The launcher: starts worker processes, watches them, and starts them again when they die."""

import asyncio
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from zaffre.core.capabilities import Capabilities
from zaffre.core.engine import EngineSpec, WorkerReport, WorkerSpec
from zaffre.core.errors import EngineFailed
from zaffre.wire import codec

MAX_LOG_LINES = 1000
MAX_LINE_BYTES = 16 * 1024
MAX_REPORT_BYTES = 1024 * 1024
START_TIMEOUT_S = 600.0
"""Loading tens of gigabytes from a slow disk takes minutes."""
STOP_TIMEOUT_S = 12.0
"""A little more than the worker's own drain; then it is killed."""
_SECRET = re.compile(
    r"KEY|TOKEN(?!IZ)|SECRET|PASSWORD|PASSWD|CREDENTIAL|^ZAFFRE_(LEDGER|QUOTA)_URL$", re.IGNORECASE
)
"""Names of variables whose values no engine needs; a deployment's `environment_variables` can still
give it one."""
LAST_WORDS_TIMEOUT_S = 1.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 30.0
STABLE_S = 60.0
"""A worker that lived this long starts with the first back-off again."""
log = logging.getLogger("zaffre.launcher")


def _passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker gets of the gateway's environment: nothing that is likely to be a secret.

    Engines are other people's code, and what they log can be read through `get-logs`.
    """
    return {name: value for name, value in environ.items() if not _SECRET.search(name)}


class SocketFolder:
    """A folder that only this user can enter, for the workers' sockets."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="zaffre-"))  # mkdtemp makes it 0700
        self._count = 0

    def new(self) -> str:
        """A socket path that was not used before."""
        self._count += 1
        return str(self.path / f"{self._count}.sock")

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Started:
    """A worker that serves: where, and what it can do."""

    def __init__(self, pid: int, socket: str, secret: str, capabilities: Capabilities) -> None:
        self.pid = pid
        self.socket = socket
        self.secret = secret
        self.capabilities = capabilities


class WorkerSupervisor:
    """Keeps one worker running until it is stopped.

    `on_started` is called each time the worker serves, `on_ended` with the cause each time it has
    died or could not start.
    """

    def __init__(  # noqa: PLR0913 - two callbacks, and bounds that have defaults
        self,
        name: str,
        engine: str,
        spec: EngineSpec,
        *,
        sockets: SocketFolder,
        on_started: Callable[[Started], None],
        on_ended: Callable[[str], None],
        max_waiting: int = 256,
        memory_limit_bytes: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._engine, self._spec = name, engine, spec
        self._environment = {**_passed_on(os.environ), **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self.log: deque[str] = deque(maxlen=MAX_LOG_LINES)
        """The last lines that the worker wrote to its standard error, over all its lives."""
        self._sockets = sockets
        self._on_started, self._on_ended = on_started, on_ended
        self._max_waiting = max_waiting
        self._memory_limit_bytes = memory_limit_bytes
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    async def stop(self) -> None:
        """Let requests in flight end, within `STOP_TIMEOUT_S`, and end the worker."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def kill(self) -> None:
        """End the worker now, whatever it is doing; it is started again."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            began = loop.time()
            cause = await self._run_once()
            if loop.time() - began > STABLE_S:
                backoff_s = FIRST_BACKOFF_S
            log.warning("worker %s: %s Starting again in %.1f s.", self._name, cause, backoff_s)
            self._on_ended(cause)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    async def _run_once(self) -> str:
        """Run a worker to its end; the cause of that end."""
        spec = WorkerSpec(
            engine=self._engine,
            spec=self._spec,
            socket=self._sockets.new(),
            secret=secrets.token_urlsafe(32),
            parent_pid=os.getpid(),
            max_waiting=self._max_waiting,
            memory_limit_bytes=self._memory_limit_bytes,
        )
        # A session of its own: Ctrl-C must reach the gateway alone, which stops workers in order.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "zaffre.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_REPORT_BYTES,
            start_new_session=True,
            env=self._environment,
        )
        self._process = process
        relay = asyncio.ensure_future(self._relay_log(process))
        try:
            report = await self._await_report(process, spec)
            if report.capabilities is None:
                await process.wait()
                return report.error or f"It ended while starting ({_ending(process.returncode)})."
            self._on_started(Started(process.pid, spec.socket, spec.secret, report.capabilities))
            ending = _ending(await process.wait())
            return await self._last_words(process) or f"It ended ({ending})."
        finally:
            await asyncio.shield(_end(process))
            relay.cancel()  # a process below the worker may hold the pipe open a while longer

    async def _last_words(self, process: asyncio.subprocess.Process) -> str:
        """The cause that a worker gives when it ends of its own accord; mostly there is none."""
        if process.stdout is None:
            return ""
        try:
            # A process below it may hold the pipe open a while longer.
            async with asyncio.timeout(LAST_WORDS_TIMEOUT_S):
                line = await process.stdout.readline()
            return codec.decode(line, WorkerReport).error if line else ""
        except (TimeoutError, ValueError, codec.MalformedError):
            return ""

    async def _relay_log(self, process: asyncio.subprocess.Process) -> None:
        """Pass on what the worker writes, and keep its end."""
        if process.stderr is None:
            return
        # Pieces, not lines: a library may write megabytes without a line's end.
        rest = b""
        while piece := await process.stderr.read(MAX_LINE_BYTES):
            sys.stderr.buffer.write(piece)
            sys.stderr.flush()
            *lines, rest = (rest + piece)[-2 * MAX_LINE_BYTES :].split(b"\n")
            self.log.extend(line.decode(errors="replace") for line in lines)

    async def _await_report(
        self, process: asyncio.subprocess.Process, spec: WorkerSpec
    ) -> WorkerReport:
        if process.stdin is None or process.stdout is None:
            raise EngineFailed("The worker has no pipes.")
        try:
            process.stdin.write(codec.encode(spec) + b"\n")
            await process.stdin.drain()
            process.stdin.close()
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        except (ConnectionError, TimeoutError) as error:
            return WorkerReport(error=f"It did not start ({type(error).__name__}).")
        return codec.decode(line, WorkerReport) if line else WorkerReport()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        log.warning("worker process %d did not stop; killing it", process.pid)
        process.kill()
        await process.wait()


def _ending(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"
