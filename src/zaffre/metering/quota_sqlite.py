"""Quota accounts in a SQLite file: for all gateway processes of one machine, and over restarts."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from zaffre.metering.shared_quota import Change, StoreAway, decode_account, encode_account
from zaffre.metering.turns import Turns

FILE_NAME = "quota.db"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS accounts"
    " (name TEXT PRIMARY KEY, content BLOB NOT NULL, expires_s REAL NOT NULL) WITHOUT ROWID"
)
_LOAD = "SELECT name, content FROM accounts WHERE name IN (SELECT value FROM json_each(?))"
_STORE = "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?)"
_SWEEP = "DELETE FROM accounts WHERE expires_s < ?"
SWEEP_EVERY = 1000
"""Changes between two looks for accounts that say nothing any more."""


class SqliteAccounts:
    """An `AccountStore` in the file `path`. Raises `StoreAway` when it cannot be opened.

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
            self._file.execute(_TABLE)
        except (OSError, sqlite3.Error) as trouble:
            raise StoreAway(f"The quotas' file {path} cannot be opened: {trouble}.") from None
        self._changes = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quota")

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        """Change accounts in one transaction; see `AccountStore`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._change, names, change, now)

    async def aclose(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._file.close()
        self._turns.close()

    def _change(self, names: Sequence[str], change: Change, now: float) -> None:
        with self._turns.taken():
            try:
                self._transact(names, change, now)
            except sqlite3.Error as trouble:
                raise StoreAway(str(trouble)) from None
            finally:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")

    def _transact(self, names: Sequence[str], change: Change, now: float) -> None:
        self._file.execute("BEGIN IMMEDIATE")
        rows = self._file.execute(_LOAD, (msgspec.json.encode(names).decode(),))
        accounts = {name: decode_account(content) for name, content in rows}
        change(accounts)
        changed = [
            (name, encode_account(account), account.expires_s) for name, account in accounts.items()
        ]
        self._file.executemany(_STORE, changed)
        if self._changes % SWEEP_EVERY == 0:
            self._file.execute(_SWEEP, (now,))
        self._changes += 1
        self._file.execute("COMMIT")
