"""Quota accounts in a SQLite file: for all gateway processes of one machine, and over restarts."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zaffre.metering.shared_quota import Change, StoreAway, decode_account, encode_account
from zaffre.metering.turns import Turns

FILE_NAME = "quota.db"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS accounts"
    " (name TEXT PRIMARY KEY, content BLOB NOT NULL, expires_s REAL NOT NULL) WITHOUT ROWID"
)
_LOAD = "SELECT name, content FROM accounts WHERE name = ?"
_STORE = "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)"
_SWEEP = "DELETE FROM accounts WHERE expires_s < ?"
TIDY_EVERY = 1000
"""Changes between two looks for accounts that say nothing any more, and for what is to be moved
from SQLite's log into the file. Both wait for the disk."""
MAX_ACCOUNTS_NOW = 16
"""Accounts that are changed on the spot: some 100 microseconds."""
PATIENCE_MS = 5000
"""How long somebody who does not queue (a copy being made, say) is waited for."""


class SqliteAccounts:
    """An `AccountStore` in the file `path`. Raises `StoreAway` when it cannot be opened.

    A change takes some 20 microseconds while nobody else changes the file, less than asking a
    thread to do it. Whatever waits is done by a thread: for other processes, or for the disk.

    Changes of the last second may be lost with the machine's power, never with a process: what is
    counted is shares, and the ledger has the truth.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._turns = Turns(path)
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("PRAGMA wal_autocheckpoint = 0")
            self._file.execute(_TABLE)
            self._file.execute("PRAGMA busy_timeout = 0")
        except (OSError, sqlite3.Error) as trouble:
            raise StoreAway(f"The quotas' file {path} cannot be opened: {trouble}.") from None
        self._changes = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quota")

    def change_now(self, names: Sequence[str], change: Change, now: float) -> bool:
        """Change a few accounts if nobody else does; see `AccountStore`."""
        if self._changes % TIDY_EVERY == 0 or len(names) > MAX_ACCOUNTS_NOW:
            return False
        if not self._turns.take_now():
            return False
        try:
            self._transact(names, change)
        except sqlite3.Error as trouble:
            if _says_busy(trouble):
                return False
            raise StoreAway(str(trouble)) from None
        finally:
            self._end_turn()
        return True

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        """Change accounts in one transaction; see `AccountStore`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._change_in_turn, names, change, now)

    async def aclose(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.to_thread(self._file.close)
        self._turns.close()

    def _change_in_turn(self, names: Sequence[str], change: Change, now: float) -> None:
        self._turns.take()
        try:
            self._file.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
            if self._changes % TIDY_EVERY == 0:
                self._tidy(now)
            self._transact(names, change)
        except sqlite3.Error as trouble:
            raise StoreAway(str(trouble)) from None
        finally:
            self._end_turn()
            self._file.execute("PRAGMA busy_timeout = 0")

    def _tidy(self, now: float) -> None:
        self._file.execute(_SWEEP, (now,))
        # The change after this begins a new log, for which SQLite waits for the disk once more.
        self._file.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _transact(self, names: Sequence[str], change: Change) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        accounts = {
            known: decode_account(content)
            for name in names
            for known, content in self._file.execute(_LOAD, (name,))
        }
        change(accounts)
        changed = [
            (name, encode_account(account), account.expires_s) for name, account in accounts.items()
        ]
        self._file.executemany(_STORE, changed)
        self._file.execute("COMMIT")
        self._changes += 1

    def _end_turn(self) -> None:
        try:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
        finally:
            self._turns.give_up()


def _says_busy(trouble: sqlite3.Error) -> bool:
    code = getattr(trouble, "sqlite_errorcode", 0)  # only SQLite's own errors have one
    return code & 0xFF == sqlite3.SQLITE_BUSY  # without what it is busy with
