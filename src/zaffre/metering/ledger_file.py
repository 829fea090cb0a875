"""The ledger's SQLite file: its tables, its transactions, and whose open requests are whose.

HOME/usage.db             every request of all gateways of this home
HOME/usage.db.gateway-N   locked by the gateway whose open requests have slot N
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct, structs

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import ABORTED, PriceList, UsageQuery, UsageRow, UsageSum
from zaffre.metering.migrations import COLUMNS, SQLITE
from zaffre.metering.sums import DAY_MS, PartialSum, add_up, question, roll_up_of
from zaffre.metering.turns import Turns

FILE_NAME = "usage.db"
MAX_GATEWAYS = 64
"""Gateway processes that may share one home."""
BUSY_TIMEOUT_S = 10.0
"""How long a commit waits for another process's commit."""

_NAMES = ", ".join(COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
# All of these are made of this module's own constants.
_CLOSE = f"INSERT INTO usage_rows ({_NAMES}) VALUES ({_MARKS})"  # noqa: S608
_OPEN = f"INSERT INTO open_requests (slot, entry, {_NAMES}) VALUES (?, ?, {_MARKS})"  # noqa: S608
_FORGET_OPEN = "DELETE FROM open_requests WHERE slot = ? AND entry = ?"
_CHECKPOINT = "UPDATE open_requests SET completion_tokens = ? WHERE slot = ? AND entry = ?"
_ABORTED = _NAMES.replace("finish", f"'{ABORTED}'")
_ABORT = (
    f"INSERT INTO usage_rows ({_NAMES})"  # noqa: S608
    f" SELECT {_ABORTED} FROM open_requests WHERE slot = ? ORDER BY entry"
)
_OLD = "usage_rows WHERE started_ms < ? ORDER BY started_ms, seq LIMIT ?"


class Batch(Struct, kw_only=True):
    """What one transaction writes."""

    closed: list[UsageRow] = []
    ended: list[int] = []
    """Entries that were written as open and are no longer."""
    opened: list[tuple[int, UsageRow]] = []
    tokens: dict[int, int] = {}
    """Entry written as open -> completion tokens so far."""
    shipped: int = 0
    """Rows up to this number are somewhere safer and can go."""
    probe: bool = False
    """Write something in any case, to find out whether that can be done."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        lists = self.closed or self.ended or self.opened or self.tokens
        return bool(lists) or self.shipped > 0 or self.probe


class LedgerFile:
    """The file, open for writing, with a slot of its own. Used by one thread at a time.

    Whatever open requests dead gateways left behind are aborted first. Raises
    `MeteringUnavailable` when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made before SQLite makes it for the world to read.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._turns = Turns(path)
            self._lock, self.slot = _take_slot(path)
        except OSError as trouble:
            raise MeteringUnavailable(f"The ledger {path} cannot be opened: {trouble}.") from None
        try:
            self._file = _connect(path)
            migrate(self._file)
            self._abort_leftovers()
            self.gateway: str = self._file.execute("SELECT gateway FROM ledger").fetchone()[0]
        except sqlite3.Error as trouble:
            self.close()
            raise MeteringUnavailable(f"The ledger {path} cannot be opened: {trouble}.") from None
        except MeteringUnavailable:
            self.close()
            raise

    def commit(self, batch: Batch) -> None:
        """Write `batch`, all of it or nothing; durable on return. Raises `sqlite3.Error`."""
        with self._turns.taken(), _transaction(self._file) as file:
            slot = self.slot
            file.executemany(_CLOSE, map(structs.astuple, batch.closed))
            file.executemany(_FORGET_OPEN, [(slot, entry) for entry in batch.ended])
            file.executemany(
                _OPEN, [(slot, entry, *structs.astuple(row)) for entry, row in batch.opened]
            )
            file.executemany(
                _CHECKPOINT, [(tokens, slot, entry) for entry, tokens in batch.tokens.items()]
            )
            if batch.shipped:
                file.execute("DELETE FROM usage_rows WHERE seq <= ?", (batch.shipped,))
            if batch.probe:
                file.execute("UPDATE ledger SET gateway = gateway")

    def roll_up(self, before_ms: int, limit: int) -> int:
        """Turn at most `limit` rows from before then into sums per day; how many they were."""
        with self._turns.taken(), _transaction(self._file) as file:
            file.execute(roll_up_of(f"SELECT * FROM {_OLD}"), (before_ms, limit))  # noqa: S608
            gone = file.execute(
                f"DELETE FROM usage_rows WHERE seq IN (SELECT seq FROM {_OLD})",  # noqa: S608
                (before_ms, limit),
            )
            return gone.rowcount

    def abort_open(self) -> None:
        """Close this gateway's open requests as aborted. Raises `sqlite3.Error`."""
        with self._turns.taken(), _transaction(self._file) as file:
            _abort(file, self.slot)

    def close(self) -> None:
        """Let go of file and slot."""
        if hasattr(self, "_file"):
            self._file.close()
        self._turns.close()
        os.close(self._lock)

    def _abort_leftovers(self) -> None:
        slots = self._file.execute("SELECT DISTINCT slot FROM open_requests").fetchall()
        for (slot,) in slots:
            if slot == self.slot:
                self.abort_open()
                continue
            lock = _lock_slot(self.path, slot)
            if lock is not None:  # nobody lives there
                try:
                    with self._turns.taken(), _transaction(self._file) as file:
                        _abort(file, slot)
                finally:
                    os.close(lock)


def read_unshipped(path: Path, after: int, limit: int) -> list[tuple[object, ...]]:
    """The oldest rows after number `after`, each led by its own. Raises `sqlite3.Error`."""
    statement = f"SELECT seq, {_NAMES} FROM usage_rows WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
    with closing(_connect_reader(path)) as file:
        return file.execute(statement, (after, limit)).fetchall()


def read_usage(path: Path, query: UsageQuery, prices: PriceList) -> list[UsageSum]:
    """What was used, by group; read without changing anything, whether a server runs or not.

    Raises `MeteringUnavailable` when there is no ledger, or none of this version.
    """
    first = query.since_day
    values = dict(
        zip("1234", (first, first * DAY_MS, query.mirrored, query.principal_id), strict=True)
    )
    try:
        with closing(_connect_reader(path)) as file:
            rows = file.execute(question(query.by), values).fetchall()
    except sqlite3.Error as trouble:
        raise MeteringUnavailable(f"The ledger {path} cannot be read: {trouble}.") from None
    return add_up((PartialSum(*row) for row in rows), query, prices)


def migrate(file: sqlite3.Connection, steps: Sequence[Sequence[str]] = SQLITE) -> None:
    """Bring the tables to today's form, each step whole or not at all.

    Raises `MeteringUnavailable` when a newer Zaffre has been here.
    """
    while (version := _version(file)) < len(steps):
        with _transaction(file):
            if _version(file) == version:  # and no other process was faster
                for statement in steps[version]:
                    file.execute(statement)
                file.execute(f"PRAGMA user_version = {version + 1}")
    if version > len(steps):
        raise MeteringUnavailable(
            f"The ledger was written by a newer Zaffre (form {version}; this one knows"
            f" {len(steps)}). Use that one, or another ZAFFRE_HOME."
        )


def _version(file: sqlite3.Connection) -> int:
    version: int = file.execute("PRAGMA user_version").fetchone()[0]
    return version


def _connect(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    return file


def _connect_reader(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S)


@contextmanager
def _transaction(file: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    file.execute("BEGIN IMMEDIATE")
    try:
        yield file
        file.execute("COMMIT")
    finally:
        if file.in_transaction:  # SQLite ends it by itself after some errors
            file.execute("ROLLBACK")


def _abort(file: sqlite3.Connection, slot: int) -> None:
    file.execute(_ABORT, (slot,))
    file.execute("DELETE FROM open_requests WHERE slot = ?", (slot,))


def _take_slot(path: Path) -> tuple[int, int]:
    for slot in range(MAX_GATEWAYS):
        lock = _lock_slot(path, slot)
        if lock is not None:
            return lock, slot
    raise BlockingIOError(f"{MAX_GATEWAYS} gateways use it already")


def _lock_slot(path: Path, slot: int) -> int | None:
    """A lock that ends with this process, however it ends; None when somebody has it."""
    lock = os.open(f"{path}.gateway-{slot}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
