"""Downloading a file: in as many pieces as it takes, and verified as a whole."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from zaffre.registry.errors import HubUnavailable, PullFailed
from zaffre.registry.hub import HubFile, HubListing, HubSource, Interrupted

MAX_ATTEMPTS = 6
"""Of a download, in a row without progress."""
MAX_QUESTIONS = 4
"""Of something short: who is offline should hear it soon."""
PROGRESS_BYTES = 1024 * 1024
"""What counts as progress: less could go on for ever."""
FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
"""Also the longest `Retry-After` that is waited for."""
CHUNK_BYTES = 1024 * 1024

Advance = Callable[[int], None]
"""Told how many bytes of the file there are by now."""
Pause = Callable[[float], None]
"""Waits so many seconds."""
Result = TypeVar("Result")


def persist(action: Callable[[], Result], pause: Pause) -> Result:
    """What `action` returns, at the latest at the `MAX_QUESTIONS`th attempt.

    Raises `HubUnavailable` with the cause of the last `Interrupted`.
    """
    failures = 0
    while True:
        try:
            return action()
        except Interrupted as cause:
            failures += 1
            _wait_or_give_up(cause, failures, MAX_QUESTIONS, pause)


def download(
    source: HubSource,
    listing: HubListing,
    file: HubFile,
    piece: Path,
    advance: Advance,
    pause: Pause,
) -> str:
    """Bring the content of `file` into `piece`, going on behind what is there; return its SHA-256.

    Raises `HubUnavailable` when the hub stays away: `piece` then keeps what came. Raises
    `PullFailed` when the bytes are not those announced, and deletes them.
    """
    failures, counted_bytes = 0, present_bytes(piece)
    while not piece.exists() or present_bytes(piece) != file.size_bytes:
        try:
            _go_on(source, listing, file, piece, advance)
        except Interrupted as cause:
            here_bytes = present_bytes(piece)
            if here_bytes - counted_bytes >= PROGRESS_BYTES:
                failures, counted_bytes = 0, here_bytes
            failures += 1
            _wait_or_give_up(cause, failures, MAX_ATTEMPTS, pause)
    advance(file.size_bytes)
    return _verify(file, piece)


def present_bytes(piece: Path) -> int:
    """The size of `piece`, 0 when it is not there."""
    try:
        return piece.stat().st_size
    except FileNotFoundError:
        return 0


def _go_on(
    source: HubSource, listing: HubListing, file: HubFile, piece: Path, advance: Advance
) -> None:
    start_bytes = present_bytes(piece)
    if start_bytes > file.size_bytes:
        piece.unlink()
        start_bytes = 0
    with source.read(listing, file, start_bytes) as reading, piece.open("ab") as target:
        # A server without ranges begins again, and so do we.
        target.truncate(reading.start_bytes)
        here_bytes = reading.start_bytes
        advance(here_bytes)
        for chunk in reading.chunks:
            here_bytes += len(chunk)
            if here_bytes > file.size_bytes:
                break
            target.write(chunk)
            advance(here_bytes)
    if here_bytes > file.size_bytes:
        piece.unlink()
        raise PullFailed(
            f"{file.path} is longer than the {file.size_bytes} bytes that the hub announced."
            " Nothing was installed; what serves it cannot be trusted."
        )
    if here_bytes < file.size_bytes:
        raise Interrupted(f"{file.path} ended after {here_bytes} of {file.size_bytes} bytes")


def _verify(file: HubFile, piece: Path) -> str:
    sha256 = hashlib.sha256()
    # Git's name of a file is not meant to keep attackers out; it does tell damage.
    git = hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
    with piece.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            sha256.update(chunk)
            if not file.sha256:
                git.update(chunk)
    found, expected = sha256.hexdigest(), file.sha256
    if not file.sha256 and file.git_oid:
        found, expected = git.hexdigest(), file.git_oid
    if expected and found != expected:
        piece.unlink()
        raise PullFailed(
            f"{file.path} is not the file that the hub announced: its digest is {found} and not"
            f" {expected}. Nothing was installed. Run the same command again; if it stays so,"
            " something between here and the hub changes files."
        )
    return sha256.hexdigest()


def _wait_or_give_up(cause: Interrupted, failures: int, most: int, pause: Pause) -> None:
    if failures >= most:
        raise HubUnavailable(
            f"The hub does not answer as it should: {cause}. Gave up after {most} attempts;"
            " the same command goes on where this one stopped."
        ) from cause
    wanted_s = cause.retry_after_s
    pause(min(FIRST_PAUSE_S * 2 ** (failures - 1) if wanted_s is None else wanted_s, MAX_PAUSE_S))
