"""Servers that tests start: a `zaffre serve` process, watched from its start to its end."""

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ZAFFRE = Path(sys.executable).with_name("zaffre")
START_LIMIT_S = 120
STOP_LIMIT_S = 30
REQUEST_LIMIT_S = 10
POLL_S = 0.1


@dataclass(frozen=True)
class RunningServer:
    """A server that answers."""

    port: int
    key: str
    process: subprocess.Popen[bytes]
    log: Path
    """What the process has printed so far, on both its outputs."""

    @property
    def endpoint(self) -> str:
        """What a program is given beside the key."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """The JSON under `path`. Raises OSError when nobody answers, ValueError for an error."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_LIMIT_S)
        ) as connection:
            connection.request("GET", path, headers={"api-key": self.key})
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"{path} answered {response.status}")
            return json.load(response)


@contextlib.contextmanager
def running_server(home: Path, log: Path, *options: str) -> Iterator[RunningServer]:
    """Run `zaffre serve` with ZAFFRE_HOME at `home`; give it out once all its models are ready."""
    port, key = _free_port(), secrets.token_hex(16)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [ZAFFRE, "serve", "--port", str(port), "--key", key, *options],
            env={**os.environ, "ZAFFRE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = RunningServer(port, key, process, log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: RunningServer) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while (states := _states(server)) != {"ready"}:
        ended = server.process.poll() is not None or "failed" in states
        if ended or time.monotonic() > deadline:
            pytest.fail(f"The server did not start:\n{server.log.read_text()}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(POLL_S)


def _states(server: RunningServer) -> set[str]:
    """The states that its replicas are in; none before it answers."""
    try:
        replicas = server.get("/health/replicas")["replicas"]
    except (OSError, ValueError, http.client.HTTPException):
        return set()
    return {replica["state"] for replica in replicas}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server as its user would, and then whatever it has left behind."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
