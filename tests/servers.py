"""Servers that tests start: a `zaffre serve` process, from its first line to its end."""

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ZAFFRE = Path(sys.executable).with_name("zaffre")
START_LIMIT_S = 120
STOP_LIMIT_S = 30
REQUEST_LIMIT_S = 10


@dataclass(frozen=True)
class RunningServer:
    """A server that has said it is ready."""

    process: subprocess.Popen[str]
    key: str
    greeting: str
    """All that it printed until it was ready."""
    log: Path
    """What it logs."""

    @property
    def port(self) -> int:
        """The port that it chose, on this machine's loopback address."""
        found = re.search(r"listens on http://127\.0\.0\.1:(\d+)$", self.greeting, re.MULTILINE)
        assert found, self.greeting
        return int(found[1])

    @property
    def endpoint(self) -> str:
        """What a program is given beside the key."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """The JSON under `path`, which must be there."""
        status, content, _ = self.ask("GET", path)
        assert status == 200, f"{path} answered {status}"
        return content

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers of any request."""
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_LIMIT_S)
        with contextlib.closing(connection):
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"api-key": self.key, **shown})
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return response.status, json.load(response), answered


@contextlib.contextmanager
def running_server(home: Path, log: Path, *options: str) -> Iterator[RunningServer]:
    """Run `zaffre serve` in `home`, on a free port, with a key of its own; gone at the end."""
    key = secrets.token_hex(16)
    with started(home, log, "--key", key, *options) as (process, greeting):
        server = RunningServer(process, key, greeting, log)
        # "Ready." says that every deployment answers; a second instance may still be starting.
        replicas = server.get("/health/replicas")["replicas"]
        ready = {each["deployment"] for each in replicas if each["state"] == "ready"}
        assert ready == {each["deployment"] for each in replicas}, f"{greeting}\n{log.read_text()}"
        yield server


@contextlib.contextmanager
def started(home: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `zaffre serve` process that is ready, and what it has printed until then."""
    environ = {name: value for name, value in os.environ.items() if name != "ZAFFRE_KEY"}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [ZAFFRE, "serve", "--port", "0", *options],
            env={**environ, "ZAFFRE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    try:
        yield process, _greeting(process, log)
    finally:
        _stop(process)


def _greeting(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout
    watchdog = threading.Timer(START_LIMIT_S, process.kill)
    watchdog.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ready."):
                return "".join(lines)
    finally:
        watchdog.cancel()
    pytest.fail(f"The server did not start:\n{''.join(lines)}\n{log.read_text()}")


def _stop(process: subprocess.Popen[str]) -> None:
    """End the server as its user would, and then whatever it has left behind."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    finally:
        if process.stdout:
            process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
