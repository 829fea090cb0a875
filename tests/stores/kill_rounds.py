"""Kill -9 against the ledger: a child writes and acknowledges, the parent kills and counts.

python kill_rounds.py FILE ROUNDS     rounds over one file; what was found as JSON
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from usage_rows import make_row

from zaffre.metering.ledger import SqliteLedger

PRODUCERS = 64
LONG_REQUESTS = 8
LONG_TOKENS = 7


@dataclass
class Found:
    """What the file held after a kill and the next start."""

    acknowledged: int = 0
    lost: int = 0
    """Acknowledged, and not in the file exactly once as they were."""
    twice: int = 0
    aborted: int = 0
    """Long requests, found exactly once as aborted with the tokens they had."""
    missing: int = 0
    """Long requests that were on disk as open, and are not there as aborted."""


def kill_round(path: Path, number: int, chance: random.Random) -> Found:
    """One child, killed at a random point; then the ledger is opened again, and read."""
    command = [sys.executable, __file__, "--child", str(path), str(number)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    wanted = chance.randrange(1, 6_000)
    said = [child.stdout.readline() for _ in range(wanted)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    acknowledged = {line.decode().strip() for line in said if line.endswith(b"\n")}
    reopen(path)
    return _count(path, number, acknowledged)


def reopen(path: Path) -> None:
    """Start and stop a gateway's ledger."""

    async def start_and_stop() -> None:
        await SqliteLedger(path, retention_days=None).aclose()

    asyncio.run(start_and_stop())


def _count(path: Path, number: int, acknowledged: set[str]) -> Found:
    with closing(sqlite3.connect(path)) as file:
        rows = file.execute(
            "SELECT id, finish, completion_tokens FROM usage_rows WHERE id LIKE ?", (f"{number}-%",)
        ).fetchall()
        still_open = file.execute("SELECT count(*) FROM open_requests").fetchone()[0]
    times = Counter(name for name, _, _ in rows)
    whole = {name for name, finish, tokens in rows if (finish, tokens) == ("stop", 30)}
    aborted = [
        name
        for name, finish, tokens in rows
        if (finish, tokens) == ("aborted", LONG_TOKENS) and "-long-" in name
    ]
    return Found(
        acknowledged=len(acknowledged),
        lost=sum(name not in whole or times[name] != 1 for name in acknowledged),
        twice=sum(count > 1 for count in times.values()),
        aborted=len(aborted),
        missing=LONG_REQUESTS - len(set(aborted)) + still_open,
    )


async def _child(path: Path, number: int) -> None:
    ledger = SqliteLedger(path, retention_days=None)
    for long in range(LONG_REQUESTS):
        entry = ledger.open(make_row(f"{number}-long-{long}", finish=""))
        ledger.checkpoint(entry, LONG_TOKENS)
    on_disk = asyncio.Event()

    async def produce(producer: int) -> None:
        count = 0
        while True:
            row = make_row(f"{number}-{producer}-{count}")
            await ledger.close(ledger.open(row), row)
            # Said only while the long ones are known to be on disk, so that they must be found.
            if on_disk.is_set():
                os.write(1, f"{row.id}\n".encode())
            elif _open_on_disk(path) == LONG_REQUESTS:
                on_disk.set()
            count += 1

    await asyncio.gather(*(produce(producer) for producer in range(PRODUCERS)))


def _open_on_disk(path: Path) -> int:
    with closing(sqlite3.connect(path)) as file:
        found = file.execute(
            "SELECT count(*) FROM open_requests WHERE completion_tokens = ? AND id LIKE '%-long-%'",
            (LONG_TOKENS,),
        ).fetchone()
    return int(found[0])


def main() -> None:
    """The child of one round, or all rounds."""
    if sys.argv[1] == "--child":
        asyncio.run(_child(Path(sys.argv[2]), int(sys.argv[3])))
        return
    chance = random.Random(7)  # noqa: S311 - nothing secret
    rounds = [kill_round(Path(sys.argv[1]), n, chance) for n in range(int(sys.argv[2]))]
    sys.stdout.write(json.dumps([asdict(found) for found in rounds]))


if __name__ == "__main__":
    main()
