"""Where the server keeps its key: HOME/key.json, readable by its owner alone."""

import os
from pathlib import Path

from zaffre.auth.keys import HashedKey, hash_key, new_key
from zaffre.auth.secret import KeyFileError
from zaffre.wire import codec

KEY_FILE = "key.json"


def load_or_make_key(home: Path, *, renew: bool = False) -> tuple[HashedKey, str | None]:
    """The kept hash, and the key itself if it was made just now. Raises `KeyFileError`."""
    path = home / KEY_FILE
    try:
        if path.exists() and not renew:
            return codec.decode(path.read_bytes(), HashedKey), None
        key = new_key()
        kept = hash_key("default", key)
        home.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(codec.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}.") from None
    except codec.MalformedError:
        raise KeyFileError(f"{path}: damaged; 'zaffre serve --new-key' makes another.") from None
    return kept, key
