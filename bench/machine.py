"""The machine a figure was measured on: in words, and whether anybody else was using it."""

import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from msgspec import Struct

MAX_FOREIGN_CORES = 0.25
"""Others' processor time, in cores, above which a round is not counted."""
SYNC_TRIES = 100
SYNC_BYTES = 4096


class BusyMachineError(Exception):
    """Others use so much of the machine that no figure would mean anything."""


class Usage(Struct, frozen=True):
    """Processor seconds so far, and when that was."""

    at_s: float
    everybody_s: float
    own_s: float


def words() -> str:
    """The machine, without a word that names its owner."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = psutil.virtual_memory().total / 2**30
    kernel = platform.release().split("-")[0]
    return f"{cores()} cores of {model}, {memory_gib:.0f} GiB, {platform.system()} {kernel}"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed versions of `packages` and of Python; a missing package is left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def sync_ms(folder: Path) -> float:
    """What a commit takes here at least: the median of writing 4 KiB and fdatasync."""
    times = []
    path = folder / "sync"
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNC_TRIES):
            file.write(bytes(SYNC_BYTES))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    path.unlink()
    return round(statistics.median(times) * 1000, 3)


@contextmanager
def pinned(*numbers: int) -> Iterator[None]:
    """What is started inside runs on these cores only; without numbers anywhere."""
    before = os.sched_getaffinity(0)
    wanted = {sorted(before)[number] for number in numbers if number < len(before)}
    if wanted and len(before) > 1:
        os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def usage() -> Usage:
    """Processor time of everybody, and of this process with all that it has started."""
    times = psutil.cpu_times()
    here = psutil.Process()
    own = _tree_s(here) + sum(_tree_s(child) for child in _descendants(here))
    return Usage(time.monotonic(), times.user + times.nice + times.system, own)


def foreign_cores(since: Usage) -> float:
    """Cores that others have used on average since then."""
    now = usage()
    others_s = (now.everybody_s - since.everybody_s) - (now.own_s - since.own_s)
    return max(0.0, others_s / max(now.at_s - since.at_s, 1e-3))


def check_quiet(*, wait_s: float, sample_s: float = 3.0) -> float:
    """Wait until others use little; the cores that they use then.

    Raises `BusyMachineError` after `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    while True:
        before = usage()
        time.sleep(sample_s)
        foreign = foreign_cores(before)
        if foreign <= MAX_FOREIGN_CORES:
            return foreign
        if time.monotonic() > deadline:
            raise BusyMachineError(
                f"Others use {foreign:.2f} cores of this machine; at most {MAX_FOREIGN_CORES} are"
                " tolerated. Wait, or measure nevertheless with --busy, which the result will say."
            )


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def _tree_s(process: psutil.Process) -> float:
    """Of a process, and of those of its children that it has waited for."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
