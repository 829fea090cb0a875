"""The server's own secret: 32 random bytes in HOME/secret, and the keys derived from it."""

import hmac
import os
import secrets
from pathlib import Path

from zaffre.core.errors import ZaffreError

SECRET_FILE = "secret"  # noqa: S105 - a file name
SECRET_BYTES = 32


class KeyFileError(ZaffreError):
    """A file with keys or the server's secret cannot be used."""

    code = "invalid_key_file"


class ServerSecret:
    """Random bytes from which keys for one purpose each are derived."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def derive(self, *purpose: str) -> bytes:
        """32 bytes that are the same for the same words, and tell nothing about others'."""
        return hmac.digest(self._content, "\0".join(purpose).encode(), "sha256")

    @property
    def fingerprint(self) -> str:
        """Tells this secret from others, without telling anything else."""
        return self.derive("fingerprint").hex()[:16]


def passing_secret() -> ServerSecret:
    """A secret that is kept nowhere."""
    return ServerSecret(secrets.token_bytes(SECRET_BYTES))


def read_secret(home: Path) -> ServerSecret | None:
    """The secret of `home`; None when it has none. Raises `KeyFileError`."""
    path = home / SECRET_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}.") from None
    if len(content) != SECRET_BYTES:
        raise KeyFileError(
            f"{path}: damaged. Restore it, or delete it together with keys.json and make new keys."
        )
    return ServerSecret(content)


def load_or_make_secret(home: Path) -> ServerSecret:
    """The secret of `home`, made if it has none. Call it under the key file's lock.

    Raises `KeyFileError`.
    """
    found = read_secret(home)
    if found is not None:
        return found
    content = secrets.token_bytes(SECRET_BYTES)
    write_private(home / SECRET_FILE, content)
    return ServerSecret(content)


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` in place of `path` as a whole, readable by its owner alone.

    A crash leaves the old file or the new one; `durable` says that, after this returns, it is the
    new one even when the power fails. Raises `KeyFileError`.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}.") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
