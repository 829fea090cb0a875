"""The ledger's own file: who may read it, who uses it, and what happens when the disk is full."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from usage_rows import make_row

from zaffre.core.errors import MeteringUnavailable, Overloaded
from zaffre.core.metering import UsageQuery
from zaffre.metering.journal import RING_BYTES
from zaffre.metering.ledger import SqliteLedger
from zaffre.metering.ledger_file import LedgerFile, migrate, read_usage
from zaffre.metering.migrations import SQLITE

FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from usage_rows import make_row
from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import UsageQuery
from zaffre.metering.ledger import SqliteLedger

async def refused(ledger):
    try:
        ledger.open(make_row("late"))
    except MeteringUnavailable:
        return True
    return False

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]))
    limit, most = 200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    begun = acknowledged = 0
    try:
        while True:
            row = make_row(f"row-{begun}")
            entry = ledger.open(row)
            begun += 1
            await ledger.close(entry, row)
            acknowledged += 1
    except MeteringUnavailable:
        pass
    closed_door, problem = await refused(ledger), ledger.problem
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    while await refused(ledger):
        await asyncio.sleep(0.01)
    (found,) = await ledger.usage(UsageQuery("model"), {})
    print(json.dumps([begun, acknowledged, closed_door, problem, found.requests]))
    await ledger.aclose()

asyncio.run(main())
"""


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from usage_rows import make_row
from zaffre.metering.ledger import SqliteLedger

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]))
    ledger.checkpoint(ledger.open(make_row("long", completion_tokens=0)), 5)
    # Until the long one has been written as open, in the same journal and before these.
    started, count = asyncio.get_running_loop().time(), 0
    while count < 3 or asyncio.get_running_loop().time() < started + 0.1:
        await ledger.close(ledger.open(make_row("short")), make_row("short"))
        count += 1
    print(count, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_the_file_is_for_its_owner_alone(tmp_path):
    """Given a new ledger, when its files are looked at, then no one else may read them."""
    ledger = SqliteLedger(tmp_path / "usage.db")
    modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir()}
    await ledger.aclose()
    assert "usage.db" in modes
    assert set(modes.values()) == {0}


def test_a_full_disk_refuses_requests_until_there_is_room(tmp_path):
    """Given a file that cannot grow, when rows come, then none is acknowledged and none is lost."""
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "usage.db")],
        check=True,
        capture_output=True,
        cwd=__file__.rpartition("/")[0],
    )
    begun, acknowledged, closed_door, problem, requests = json.loads(child.stdout)
    assert begun >= acknowledged > 0
    assert closed_door
    assert "disk" in problem
    # One that was refused at its end is written once there is room: its tokens were used.
    assert requests == begun


async def test_a_request_too_many_is_refused_at_once(tmp_path):
    """Given room for two open requests, when a third comes, then it is told to try again."""
    ledger = SqliteLedger(tmp_path / "usage.db", capacity=2)
    first, _ = ledger.open(make_row("a")), ledger.open(make_row("b"))
    with pytest.raises(Overloaded):
        ledger.open(make_row("c"))
    await ledger.close(first, make_row("a"))
    ledger.open(make_row("d"))
    await ledger.aclose()


async def test_a_client_that_leaves_does_not_take_its_row_along(tmp_path):
    """Given a close whose task is cancelled, when the ledger is read, then the row is there."""
    ledger = SqliteLedger(tmp_path / "usage.db")
    row = make_row("a")
    leaving = asyncio.ensure_future(ledger.close(ledger.open(row), row))
    await asyncio.sleep(0)
    leaving.cancel()
    await ledger.close(ledger.open(make_row("b")), make_row("b"))
    (found,) = await ledger.usage(UsageQuery("model"), {})
    await ledger.aclose()
    assert (found.requests, found.errors) == (2, 0)


async def test_a_request_after_the_end_is_refused_and_does_not_hang(tmp_path):
    """Given a ledger that has been closed, when requests begin or end, then they are told."""
    ledger = SqliteLedger(tmp_path / "usage.db")
    entry = ledger.open(make_row("a"))
    await ledger.aclose()
    await ledger.aclose()
    with pytest.raises(MeteringUnavailable):
        await ledger.close(entry, make_row("a"))
    with pytest.raises(MeteringUnavailable):
        ledger.open(make_row("b"))


async def test_gateways_of_one_home_leave_each_other_alone(tmp_path):
    """Given a gateway with an open request, when another starts, then that stays open."""
    path = tmp_path / "usage.db"
    one = SqliteLedger(path)
    entry = one.open(make_row("long"))
    async with asyncio.timeout(30):
        while not _open_rows(path):
            await one.close(one.open(make_row("short")), make_row("short"))
    await SqliteLedger(path).aclose()
    still_open = _open_rows(path)
    await one.close(entry, make_row("long"))
    await one.aclose()
    (found,) = read_usage(path, UsageQuery("model"), {})
    assert (still_open, found.errors) == (1, 0)


def _kill_one(path):
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        check=False,
        capture_output=True,
        cwd=__file__.rpartition("/")[0],
    )
    return int(child.stdout)


def test_what_the_tables_lack_is_counted_all_the_same(tmp_path):
    """Given a server killed before its tables had all, when usage is asked for, then it is told
    all of it, and the question has changed nothing."""
    path = tmp_path / "usage.db"
    told = _kill_one(path)
    twice = [read_usage(path, UsageQuery("model"), {})[0].requests for _ in range(2)]
    with closing(sqlite3.connect(path)) as file:
        in_tables = file.execute("SELECT count(*) FROM usage_rows").fetchone()[0]
    assert twice == [told, told]
    assert in_tables < told


@pytest.mark.parametrize("slot", [0, 1])
def test_a_killed_gateways_journal_is_written_by_the_next(tmp_path, slot):
    """Given a gateway killed with a request open, when another starts in its place or beside it,
    then what it promised is in the tables once, and the open one is aborted with its tokens."""
    path = tmp_path / "usage.db"
    beside = [LedgerFile(path) for _ in range(slot)]
    told = _kill_one(path)
    for other in beside:
        other.close()
    LedgerFile(path).close()
    with closing(sqlite3.connect(path)) as file:
        found = file.execute(
            "SELECT id, finish, completion_tokens, count(*) FROM usage_rows GROUP BY 1, 2, 3"
        ).fetchall()
        left = file.execute("SELECT count(*) FROM open_requests").fetchone()[0]
    (asked,) = read_usage(path, UsageQuery("model"), {})
    assert sorted(found) == [("long", "aborted", 5, 1), ("short", "stop", 30, told)]
    assert (left, asked.requests, asked.errors) == (0, told + 1, 1)


async def test_a_ledger_begun_anew_does_not_inherit(tmp_path):
    """Given a killed gateway whose ledger somebody deletes, when the next starts, then it begins
    with nothing."""
    path = tmp_path / "usage.db"
    _kill_one(path)
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).unlink()
    ledger = SqliteLedger(path)
    found = await ledger.usage(UsageQuery("model"), {})
    await ledger.aclose()
    assert found == []


async def test_a_row_that_the_journal_cannot_take_is_in_the_tables_when_told(tmp_path):
    """Given a row larger than the journal, when its close returns, then the tables have it."""
    path = tmp_path / "usage.db"
    ledger = SqliteLedger(path)
    large = make_row("large", model="x" * RING_BYTES)
    await ledger.close(ledger.open(large), large)
    with closing(sqlite3.connect(path)) as file:
        in_tables = file.execute("SELECT id FROM usage_rows").fetchall()
    await ledger.close(ledger.open(make_row("b")), make_row("b"))
    found = await ledger.usage(UsageQuery("day"), {})
    await ledger.aclose()
    assert in_tables == [("large",)]
    assert [one.requests for one in found] == [2]


async def test_a_ledger_from_before_the_journals_can_be_read_and_used(tmp_path):
    """Given a file of the first form, when it is read and then used, then it has old and new."""
    path = tmp_path / "usage.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        migrate(file, SQLITE[:1])
    before = read_usage(path, UsageQuery("model"), {})
    ledger = SqliteLedger(path)
    await ledger.close(ledger.open(make_row("a")), make_row("a"))
    (found,) = await ledger.usage(UsageQuery("model"), {})
    await ledger.aclose()
    assert (before, found.requests) == ([], 1)


def test_a_step_that_fails_leaves_nothing_behind(tmp_path):
    """Given a migration whose second half fails, when it has failed, then it never happened."""
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as file:
        with pytest.raises(sqlite3.OperationalError):
            migrate(file, [("CREATE TABLE one (a)",), ("CREATE TABLE two (a)", "NO SQL AT ALL")])
        tables = file.execute("SELECT name FROM sqlite_schema").fetchall()
        version = file.execute("PRAGMA user_version").fetchone()
        migrate(file, [("CREATE TABLE one (a)",), ("CREATE TABLE two (a)",)])
    assert (tables, version) == ([("one",)], (1,))


def test_a_newer_file_is_not_touched(tmp_path):
    """Given a ledger of a newer version, when this one opens it, then it says so and stops."""
    path = tmp_path / "usage.db"
    LedgerFile(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 999")
    with pytest.raises(MeteringUnavailable, match="newer Zaffre"):
        LedgerFile(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """Given a folder where a file is, when the ledger is opened there, then the message has it."""
    (tmp_path / "home").write_text("")
    with pytest.raises(MeteringUnavailable, match="home"):
        LedgerFile(tmp_path / "home" / "usage.db")


def test_reading_needs_a_ledger(tmp_path):
    """Given a home without a ledger, when usage is asked for, then that is said."""
    with pytest.raises(MeteringUnavailable, match="cannot be read"):
        read_usage(tmp_path / "usage.db", UsageQuery("key"), {})


def _open_rows(path):
    with closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT count(*) FROM open_requests").fetchone()[0]
