"""The ledger's SQLite file: its tables, its transactions, and whose open requests are whose.

HOME/usage.db             every request of all gateways of this home
HOME/usage.db.gateway-N   the journal of the gateway that has slot N, locked by it while it lives
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from msgspec import structs

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import ABORTED, PriceList, UsageQuery, UsageSum
from zaffre.metering.books import Batch, Books
from zaffre.metering.journal import Journal, Mark, open_journal_file, read_journal
from zaffre.metering.migrations import COLUMNS, SQLITE
from zaffre.metering.sums import DAY_MS, PartialSum, add_up, question, roll_up_of
from zaffre.metering.turns import Turns

FILE_NAME = "usage.db"
JOURNALS_VERSION = 2
"""The form of the tables that first knows of journals."""
MAX_GATEWAYS = 64
"""Gateway processes that may share one home."""
BUSY_TIMEOUT_S = 10.0
"""How long a commit waits for another process's commit."""
ROWS_AT_ONCE = 32
"""Rows in one statement: the interpreter lock changes hands once for so many, not for each."""

_NAMES = ", ".join(COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
# All of these are made of this module's own constants.
_CLOSE = f"INSERT INTO usage_rows ({_NAMES}) VALUES ({_MARKS})"  # noqa: S608
_CLOSE_MANY = _CLOSE + f", ({_MARKS})" * (ROWS_AT_ONCE - 1)
_OPEN = f"INSERT INTO open_requests (slot, entry, {_NAMES}) VALUES (?, ?, {_MARKS})"  # noqa: S608
_FORGET_OPEN = "DELETE FROM open_requests WHERE slot = ? AND entry = ?"
_CHECKPOINT = "UPDATE open_requests SET completion_tokens = ? WHERE slot = ? AND entry = ?"
_PLACE = (
    "INSERT INTO journals VALUES (?, ?, ?) ON CONFLICT (slot)"
    " DO UPDATE SET number = excluded.number, place = excluded.place"
)
_ABORTED = _NAMES.replace("finish", f"'{ABORTED}'")
_ABORT = (
    f"INSERT INTO usage_rows ({_NAMES})"  # noqa: S608
    f" SELECT {_ABORTED} FROM open_requests WHERE slot = ? ORDER BY entry"
)
_OLD = "usage_rows WHERE started_ms < ? ORDER BY started_ms, seq LIMIT ?"


class LedgerFile:
    """The file, open for writing, with a slot of its own. Used by one thread at a time.

    What dead gateways left in their journals is written first, and what they left open aborted.
    Raises `MeteringUnavailable` when it cannot be opened.
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
            self.gateway: str = self._file.execute("SELECT gateway FROM ledger").fetchone()[0]
            self._bury_the_dead()
            self.journal = Journal(self._lock, self.gateway, self._bury(self.slot, self._lock))
        except (sqlite3.Error, OSError) as trouble:
            self.close()
            raise MeteringUnavailable(f"The ledger {path} cannot be opened: {trouble}.") from None
        except MeteringUnavailable:
            self.close()
            raise

    def commit(self, batch: Batch) -> None:
        """Write `batch`, all of it or nothing; durable on return. Raises `sqlite3.Error`."""
        with self._turns.taken(), _transaction(self._file) as file:
            _write(file, self.slot, batch)

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

    def _bury_the_dead(self) -> None:
        found = self._file.execute("SELECT DISTINCT slot FROM open_requests").fetchall()
        slots = {slot for (slot,) in found}
        slots.update(n for n in range(MAX_GATEWAYS) if _journal_path(self.path, n).exists())
        for slot in slots - {self.slot}:
            lock = _lock_slot(self.path, slot)
            if lock is not None:  # nobody lives there
                try:
                    self._bury(slot, lock)
                finally:
                    os.close(lock)

    def _bury(self, slot: int, lock: int) -> Mark:
        """Write what is in a dead gateway's journal, abort what it left open; where that ends."""
        with self._turns.taken(), _transaction(self._file) as file:
            lots, end = read_journal(lock, self.gateway, _mark(file, slot))
            written = file.execute("SELECT entry FROM open_requests WHERE slot = ?", (slot,))
            books = Books(entry for (entry,) in written)
            for lot in lots:
                books.add(lot, end)
            _write(file, slot, books.batch())
            _abort(file, slot)
        return end


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
            _add_journals(file, path)
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


def _write(file: sqlite3.Connection, slot: int, batch: Batch) -> None:
    # A statement for nothing would still let go of the interpreter lock.
    rows = [structs.astuple(row) for row in batch.closed]
    many = len(rows) - len(rows) % ROWS_AT_ONCE
    for start in range(0, many, ROWS_AT_ONCE):
        values = tuple(chain.from_iterable(rows[start : start + ROWS_AT_ONCE]))
        file.execute(_CLOSE_MANY, values)
    if many < len(rows):
        file.executemany(_CLOSE, rows[many:])
    if batch.ended:
        file.executemany(_FORGET_OPEN, [(slot, entry) for entry in batch.ended])
    if batch.opened:
        opened = [(slot, entry, *structs.astuple(row)) for entry, row in batch.opened]
        file.executemany(_OPEN, opened)
    if batch.tokens:
        tokens = [(tokens, slot, entry) for entry, tokens in batch.tokens.items()]
        file.executemany(_CHECKPOINT, tokens)
    if batch.mark is not None:
        file.execute(_PLACE, (slot, batch.mark.number, batch.mark.place))
    if batch.shipped:
        file.execute("DELETE FROM usage_rows WHERE seq <= ?", (batch.shipped,))
    if batch.probe:
        file.execute("UPDATE ledger SET gateway = gateway")


def _mark(file: sqlite3.Connection, slot: int) -> Mark:
    found = file.execute("SELECT number, place FROM journals WHERE slot = ?", (slot,)).fetchone()
    return Mark(*found) if found else Mark()


def _add_journals(file: sqlite3.Connection, path: Path) -> None:
    """Let the reader `file` see what is durable and not yet in the tables."""
    if _version(file) < JOURNALS_VERSION:
        return
    file.execute(f"CREATE TEMP TABLE journaled AS SELECT {_NAMES} FROM usage_rows WHERE false")  # noqa: S608
    # From here to the answer the tables stand still: a row is in them, or after the mark in them.
    file.execute("BEGIN")
    (gateway,) = file.execute("SELECT gateway FROM ledger").fetchone()
    for slot in range(MAX_GATEWAYS):
        try:
            journal = os.open(_journal_path(path, slot), os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            lots, _ = read_journal(journal, gateway, _mark(file, slot))
        finally:
            os.close(journal)
        rows = [structs.astuple(row) for lot in lots for _, row in lot.closed]
        file.executemany(f"INSERT INTO journaled VALUES ({_MARKS})", rows)  # noqa: S608
    file.execute(
        f"CREATE TEMP VIEW usage_rows AS SELECT {_NAMES} FROM main.usage_rows"  # noqa: S608
        " UNION ALL SELECT * FROM journaled"
    )


def _abort(file: sqlite3.Connection, slot: int) -> None:
    file.execute(_ABORT, (slot,))
    file.execute("DELETE FROM open_requests WHERE slot = ?", (slot,))


def _journal_path(path: Path, slot: int) -> Path:
    return path.with_name(f"{path.name}.gateway-{slot}")


def _take_slot(path: Path) -> tuple[int, int]:
    for slot in range(MAX_GATEWAYS):
        lock = _lock_slot(path, slot)
        if lock is not None:
            return lock, slot
    raise BlockingIOError(f"{MAX_GATEWAYS} gateways use it already")


def _lock_slot(path: Path, slot: int) -> int | None:
    """A lock that ends with this process, however it ends; None when somebody has it."""
    lock = open_journal_file(_journal_path(path, slot))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
