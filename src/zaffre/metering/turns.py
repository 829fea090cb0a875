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
        """Wait for our turn, and have it."""
        self.take()
        try:
            yield
        finally:
            self.give_up()

    def take(self) -> None:
        """Wait for our turn. It ends with `give_up`, or with the process, however that ends."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def take_now(self) -> bool:
        """Have our turn if that takes no wait; see `take`."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give_up(self) -> None:
        """Let the next in line have its turn."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave the queue."""
        os.close(self._file)
