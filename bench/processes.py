"""Processes under measurement: started on chosen cores, observed through /proc, ended in order."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from bench.machine import pinned
from zaffre.registry.store import default_home

ROOT = Path(__file__).parents[1]
WORK = ROOT / "bench" / ".work"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.02
KEY = "bench"
"""The key of the servers under measurement; they listen on the loopback interface only."""


class Address(Struct, frozen=True):
    """Where a server is asked."""

    port: int
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    model: str = "mock"


class Io(Struct, frozen=True):
    """What a process has read and written so far, of sockets and files alike."""

    reads: int
    writes: int
    read_bytes: int
    written_bytes: int


class Server:
    """A process that serves, and what can be seen of it from outside."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def pid(self) -> int:
        """Of the process itself, not of those below it."""
        return self.process.pid

    def cpu_s(self) -> float:
        """Processor seconds of this process alone, all its threads; in nanosecond steps."""
        total_ns = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            total_ns += int(path.read_text().split()[0])
        return total_ns / 1e9

    def io(self) -> Io:
        """Calls of read and write so far."""
        rows = dict(
            line.split(": ") for line in Path(f"/proc/{self.pid}/io").read_text().splitlines()
        )
        return Io(*(int(rows[name]) for name in ("syscr", "syscw", "rchar", "wchar")))

    def memory_mib(self) -> float:
        """Resident memory of this process alone."""
        return float(psutil.Process(self.pid).memory_info().rss / 2**20)

    def open_files(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def place_children(self, *cores: int) -> None:
        """Move the processes below this one to other cores, threads included."""
        allowed = sorted(os.sched_getaffinity(0))
        wanted = {allowed[number] for number in cores if number < len(allowed)}
        if not wanted:
            return
        for child in psutil.Process(self.pid).children(recursive=True):
            for thread in child.threads():
                os.sched_setaffinity(thread.id, wanted)

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(
    command: Sequence[str],
    log: Path,
    *,
    cores: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` on `cores`, with both outputs in `log`."""
    with pinned(*cores), log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )


def await_text(process: subprocess.Popen[bytes], log: Path, pattern: str) -> re.Match[str]:
    """Wait until `log` has `pattern`. Raises `RuntimeError` with the log's end otherwise."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found
        if process.poll() is not None:
            raise RuntimeError(f"It ended with {process.returncode}:\n{text[-2000:]}")
        time.sleep(POLL_S)
    raise RuntimeError(f"It does not say that it is ready:\n{text[-2000:]}")


def await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until somebody listens on `port`. Raises `RuntimeError` with the log's end otherwise."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            raise RuntimeError(f"It ended:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_S)
    raise RuntimeError(f"It does not listen:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def work_folder(parent: Path = WORK) -> Iterator[Path]:
    """A folder for one run, gone afterwards."""
    folder = parent / f"zaffre-bench-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def served(
    command: Sequence[str], name: str, folder: Path, *, cores: Sequence[int] = (), port: int
) -> Iterator[Server]:
    """A server of `command` that listens on `port`."""
    log = folder / f"{name}.log"
    process = start(command, log, cores=cores)
    server = Server(process, port)
    try:
        await_port(process, port, log)
        yield server
    finally:
        server.stop()


def zaffre_command(file: Path, program: Sequence[str] = ("-m", "zaffre")) -> list[str]:
    """How `zaffre serve` is started; `program` is what Python is told to run."""
    return [
        *(sys.executable, *program, "serve", "-f", str(file)),
        *("--key", KEY, "--port", "0", "--log-level", "warning"),
    ]


def zaffre_home(folder: Path) -> dict[str, str]:
    """The environment for a server with a home of its own and the models of the user's."""
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    models = default_home(os.environ) / "models"
    if models.is_dir() and not (home / "models").exists():
        (home / "models").symlink_to(models)
    return {"ZAFFRE_HOME": str(home)}


@contextmanager
def zaffre(
    plan: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    cores: Sequence[int] = (),
    program: Sequence[str] = ("-m", "zaffre"),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Zaffre with the documents of `plan`, once it is ready; its home is in `folder`."""
    file, log = folder / "plan.yaml", folder / "zaffre.log"
    file.write_text("\n---\n".join(map(json.dumps, plan)))  # JSON is YAML
    own = zaffre_home(folder) | dict(environment or {})
    process = start(zaffre_command(file, program), log, cores=cores, environment=own)
    server = Server(process, 0)
    try:
        server.port = int(await_text(process, log, r"listens on \S+:(\d+)\n")[1])
        await_text(process, log, r"Ready\. Press")
        yield server
    finally:
        server.stop()
