"""The ledger's figures: rows per second, waits, and what 24 rounds of kill -9 lose.

python bench/ledger.py            prints the figures, and keeps them in bench/results/
"""

import asyncio
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from zaffre import __version__
from zaffre.core.metering import UsageRow
from zaffre.metering.ledger import SqliteLedger

ROOT = Path(__file__).parents[1]
KILL_ROUNDS = ROOT / "tests" / "stores" / "kill_rounds.py"
ROUNDS = 24
ROWS = 100_000
PRODUCERS = (1, 64, 512)
ROW = UsageRow(
    id="0123456789abcdef0123456789abcdef",
    started_ms=1_790_000_000_000,
    principal_id="key-1",
    principal_name="first",
    endpoint="east",
    deployment="small",
    model="smollm2-360m-instruct",
    operation="chat",
    dialect="azure-inference",
    prompt_tokens=12,
    completion_tokens=30,
    latency_ms=210,
    first_token_ms=40,
    finish="stop",
    status=200,
    bytes_in=300,
    bytes_out=900,
    stream=True,
)


async def measure(path: Path, producers: int) -> dict[str, Any]:
    """Rows per second, and how long `close` waits, with so many requests at a time."""
    ledger = SqliteLedger(path, retention_days=None)
    rows = ROWS if producers > 1 else ROWS // 20
    waits: list[float] = []

    async def produce() -> None:
        for _ in range(rows // producers):
            entry = ledger.open(ROW)
            started = time.perf_counter()
            await ledger.close(entry, ROW)
            waits.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(produce() for _ in range(producers)))
    elapsed_s = time.perf_counter() - started
    await ledger.aclose()
    centiles = statistics.quantiles(waits, n=100)
    return {
        "producers": producers,
        "rows": len(waits),
        "rows_per_second": round(len(waits) / elapsed_s),
        "wait_ms_p50": round(centiles[49] * 1000, 2),
        "wait_ms_p99": round(centiles[98] * 1000, 2),
    }


def kill(path: Path) -> dict[str, int]:
    """Rounds of kill -9, added up."""
    command = [sys.executable, str(KILL_ROUNDS), str(path), str(ROUNDS)]
    rounds = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {"rounds": len(rounds)} | {
        name: sum(found[name] for found in rounds) for name in rounds[0]
    }


def machine() -> str:
    """The machine in words that name nobody."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, {platform.system()} {platform.release().split('-')[0]}"


def sync_ms(path: Path) -> float:
    """What this disk takes at least for a commit: the median of 200 times 4 KiB and fdatasync."""
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1000, 2)


def main() -> None:
    """Measure, print, keep."""
    with tempfile.TemporaryDirectory(dir=ROOT / "bench") as folder:
        busy = round(os.getloadavg()[0], 2)
        disk_ms = sync_ms(Path(folder) / "sync")
        speeds = [
            asyncio.run(measure(Path(folder) / f"{producers}.db", producers))
            for producers in PRODUCERS
        ]
        killed = kill(Path(folder) / "killed.db")
    now = datetime.now(UTC)
    figures = {
        "command": "python bench/ledger.py",
        "date": now.date().isoformat(),
        "machine": machine(),
        "load_average_before": busy,
        "fdatasync_ms_p50": disk_ms,
        "versions": {
            "zaffre": __version__,
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "settings": "WAL, synchronous=FULL; one open and one close per row",
        "speeds": speeds,
        "kill_9": killed,
    }
    text = msgspec.json.format(msgspec.json.encode(figures), indent=2).decode() + "\n"
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / f"ledger-{now:%Y-%m-%d}.json").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
