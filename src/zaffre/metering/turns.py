"""Turns: processes that write one SQLite file queue for it.

SQLite's own wait for a lock is a sleep that grows to 100 ms; the kernel wakes the next in line.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """The queue for `path`, kept in a file beside it. Raises `OSError` when that cannot be made."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(f"{path}.turn", os.O_RDWR | os.O_CREAT, 0o600)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for our turn, and have it. It ends with the process, however that ends."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave the queue."""
        os.close(self._file)
