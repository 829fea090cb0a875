"""The key book's files, changed under a lock and replaced as a whole.

HOME/keys.json        the book: keyed hashes, never a key
HOME/keys-used.json   when each key was last used; may be lost
HOME/keys.lock        held by whoever changes one of them
HOME/secret           what the hashes are keyed with
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from zaffre.auth.keybook import (
    ALL,
    FIRST_KEY,
    MAX_KEYS,
    Digest,
    KeyBook,
    KeyRecord,
    Salt,
    look_up,
    with_record,
)
from zaffre.auth.secret import KeyFileError, ServerSecret, read_secret, write_private
from zaffre.core.errors import Conflict
from zaffre.wire import codec

BOOK_FILE = "keys.json"
USES_FILE = "keys-used.json"
LOCK_FILE = "keys.lock"
OLD_KEY_FILE = "key.json"
"""Where a server kept its one key before there was a book."""
MAX_FILE_BYTES = 16 * 1024 * 1024
LOCK_LIMIT_S = 10.0
"""A change takes milliseconds; whoever holds the lock for longer is stuck."""
_LOCK_PAUSE_S = 0.005
Stamp = tuple[int, int, int]
"""Tells one state of the file from all others, as long as the older one is held open."""


class _OldKey(Struct, frozen=True):
    """The content of the older server's file: an HMAC-SHA-256 of its key under a salt."""

    name: str
    salt: Salt
    digest: Digest


class KeyBookFile:
    """The book in the folder `home`, which need not exist yet. All raise `KeyFileError`."""

    def __init__(self, home: Path) -> None:
        self._held: BinaryIO | None = None
        """The file that was read last: while it is open, no other file gets its inode."""
        self.home = home
        self.path = home / BOOK_FILE
        self._name = str(self.path)

    def exists(self) -> bool:
        """Whether keys were ever made here."""
        return self.path.exists()

    def stamp(self) -> Stamp | None:
        """The file's stamp; None when there is none."""
        try:
            return _stamp_of(os.stat(self._name))  # noqa: PTH116 - at each request; Path is slower
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror}.") from None

    def read(self) -> tuple[KeyBook, Stamp | None]:
        """The book and the stamp of its file; an empty book when there is no file."""
        try:
            file = self.path.open("rb", buffering=0)
            if self._held is not None:
                self._held.close()
            self._held = file
            stamp, content = _stamp_of(os.fstat(file.fileno())), file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return KeyBook(), None
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror}.") from None
        return self._parse(content), stamp

    def write(self, book: KeyBook) -> None:
        """Replace the book, durably. Call it under the lock. Raises `Conflict` when it is full."""
        if len(book.keys) > MAX_KEYS:
            raise Conflict(f"There are {MAX_KEYS} keys already; revoke some first.")
        write_private(self.path, codec.encode(book))

    def secret_of(self, book: KeyBook) -> ServerSecret | None:
        """The secret that `book` is keyed with; None when there is none and it needs none."""
        secret = read_secret(self.home)
        if book.secret and (secret is None or secret.fingerprint != book.secret):
            raise KeyFileError(
                f"{self.home / 'secret'}: not the one that {self.path} was made with. Restore it,"
                " or delete both and make new keys with 'zaffre keys create'."
            )
        return secret

    def read_uses(self) -> dict[str, int]:
        """When each key was last used, by its id. Damage is forgotten: it is of little worth."""
        try:
            return codec.decode((self.home / USES_FILE).read_bytes(), dict[str, int])
        except (OSError, codec.MalformedError):
            return {}

    def write_uses(self, uses: dict[str, int]) -> None:
        """Replace what `read_uses` reads. Call it under the lock."""
        write_private(self.home / USES_FILE, codec.encode(uses), durable=False)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only thread of all processes that changes the files."""
        path = self.home / LOCK_FILE
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        except OSError as error:
            raise KeyFileError(f"{path}: {error.strerror}.") from None
        with file:
            deadline = time.monotonic() + LOCK_LIMIT_S
            while not _lock(file):
                if time.monotonic() > deadline:
                    raise KeyFileError(f"{path}: held by another process.")
                time.sleep(_LOCK_PAUSE_S)
            yield

    def adopt_old_key(self) -> None:
        """Take over the one key that an older server kept, so that it goes on working."""
        old = self.home / OLD_KEY_FILE
        if not old.exists():
            return
        with self.locked():
            try:
                kept = codec.decode(old.read_bytes(), _OldKey)
                created_at = int(old.stat().st_mtime)
            except FileNotFoundError:
                return  # another process was faster
            except OSError as error:
                raise KeyFileError(f"{old}: {error.strerror}.") from None
            except codec.MalformedError:
                raise KeyFileError(f"{old}: damaged. Delete it, and a new key is made.") from None
            book, _ = self.read()
            if not any(record.digest == kept.digest for record in book.keys):
                self.write(with_record(book, _adopted(kept, book, created_at)))
            old.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file that was read."""
        if self._held is not None:
            self._held.close()
        self._held = None

    def __del__(self) -> None:
        self.close()

    def _parse(self, content: bytes) -> KeyBook:
        if len(content) > MAX_FILE_BYTES:
            raise KeyFileError(f"{self.path}: larger than {MAX_FILE_BYTES} bytes.")
        try:
            return codec.decode(content, KeyBook)
        except codec.MalformedError as malformed:
            raise KeyFileError(
                f"{self.path}: damaged, or written by a newer Zaffre ({malformed.message})"
                " Restore it, or delete it and make new keys with 'zaffre keys create'."
            ) from None


def _stamp_of(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _adopted(kept: _OldKey, book: KeyBook, created_at: int) -> KeyRecord:
    taken = look_up(book, FIRST_KEY) is not None
    return KeyRecord(
        id=f"key_{kept.digest[:12]}",
        name=f"{FIRST_KEY}-{kept.digest[:6]}" if taken else FIRST_KEY,
        digest=kept.digest,
        salt=kept.salt,
        grant=ALL,
        created_at=created_at,
    )
