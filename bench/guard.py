"""The guard: what must not get worse, in numbers that do not depend on how fast the machine is.

Ratios are against a plain uvicorn hop in the same run. Counts are of Python calls, of reads and
writes, of bytes, and of what is left when all is over.
"""

import json
import pstats
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import gateway, load
from bench.figures import Bar, Rounds, Row, Verdict, find, gathered, ratio
from bench.gateway import GATEWAY_CORE, HOP, OTHERS_CORE, UPSTREAM, Arm
from bench.processes import KEY, Address, Server, free_port, served, work_folder, zaffre
from bench.watched import WINDOW

ROUNDS = 3
SECONDS = 2.0
STREAMS, STREAM_TOKENS = 20, 150
LEFT_REQUESTS, LEFT_STREAMS = 2000, 40
SETTLE_S = 12.0
"""How long connections and tasks may take to go: longer than any keep-alive of ours to others."""
PROFILED = {"few": 50, "many": 250}
PROFILED_STREAMS, PROFILED_CALLERS = 4, 4
PINNING = gateway.PINNING
COUNTED, LEFT = "counts", "left over"
JSON_WORKLOAD, SSE_WORKLOAD = "JSON, 16 callers", "SSE, 20 streams"


class Limit(Struct, frozen=True):
    """A bound, and what it may be passed by before the guard fails."""

    what: str
    bound: float
    margin: float
    """Of the bound."""

    @property
    def breaking(self) -> float:
        """From here on the guard fails."""
        return self.bound * (1 + self.margin)


LIMITS: dict[str, Limit] = {
    "request_cpu_by_hop": Limit("processor time per request ÷ plain uvicorn hop", 3.0, 0.25),
    "chunk_cpu_by_hop": Limit("processor time per relayed chunk ÷ plain uvicorn hop", 2.3, 0.25),
    "calls_per_request": Limit("Python calls per request", 900, 0.1),
    "calls_per_chunk": Limit("Python calls per relayed chunk", 100, 0.1),
    "reads_per_chunk": Limit("reads per relayed chunk", 1.2, 0.1),
    "writes_per_chunk": Limit("writes per relayed chunk", 1.2, 0.1),
    "bytes_per_chunk": Limit("bytes to the client per relayed chunk", 260, 0.05),
    "tasks_left": Limit("tasks left", 0, 0),
    "open_files_left": Limit("file descriptors left", 0, 0),
    "objects_per_request": Limit("objects left per request", 0.5, 0),
}


@contextmanager
def _upstream(folder: Path) -> Iterator[int]:
    port = free_port()
    mock = [sys.executable, "-m", "bench.mock", str(port)]
    with served(mock, "mock", folder, cores=[OTHERS_CORE], port=port):
        yield port


@contextmanager
def _zaffre(folder: Path, upstream: int, **options: Any) -> Iterator[Arm]:  # noqa: ANN401
    plan = gateway.plan(upstream)
    plan = [{"deployments": plan[0]["deployments"][:1]}]
    with zaffre(plan, folder, cores=[GATEWAY_CORE], **options) as server:
        arm = Arm(UPSTREAM, Address(server.port, headers={"api-key": KEY}), server)
        gateway.warm_up([arm])
        yield arm


def measure(rounds: Rounds, say: Callable[[str], None]) -> list[Row]:
    """All rows."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        upstream = stack.enter_context(_upstream(folder))
        rows = _ratios(folder, upstream, rounds)
        say("Counting calls ...")
        counts = _calls(folder, upstream)
        say("Looking for what stays behind ...")
        left = _left(folder, upstream)
    rows.append(Row(workload=COUNTED, arm=UPSTREAM, figures=gathered([counts])))
    rows.append(Row(workload=LEFT, arm=UPSTREAM, figures=gathered([left])))
    return rows


def _ratios(folder: Path, upstream: int, rounds: Rounds) -> list[Row]:
    port = free_port()
    hop = [sys.executable, "-m", "bench.hop", str(port), str(upstream)]
    with (
        served(hop, "hop", folder, cores=[GATEWAY_CORE], port=port) as plain,
        _zaffre(folder, upstream) as ours,
    ):
        arms = [Arm(HOP, Address(port), plain), ours]
        gateway.warm_up(arms)
        requests = {arm.name: partial(_requests, arm) for arm in arms}
        streams = {arm.name: partial(_streams, arm) for arm in arms}
        return [*rounds.run(JSON_WORKLOAD, requests), *rounds.run(SSE_WORKLOAD, streams)]


def _requests(arm: Arm) -> dict[str, float]:
    report, cpu_s = gateway.run(arm, gateway.asked(arm, callers=16, duration_s=SECONDS))
    return {"cpu_us_per_request": cpu_s / report.requests * 1e6}


def _streams(arm: Arm) -> dict[str, float]:
    wanted = gateway.asked(arm, stream_tokens=STREAM_TOKENS, callers=STREAMS, turns=1, spread_s=1)
    before = None if arm.server is None else arm.server.io()
    report, cpu_s = gateway.run(arm, wanted)
    after = None if arm.server is None else arm.server.io()
    found = {
        "cpu_us_per_chunk": cpu_s / report.chunks * 1e6,
        "bytes_per_chunk": report.read_bytes / report.chunks,
    }
    if before is not None and after is not None:
        found["reads_per_chunk"] = (after.reads - before.reads) / report.chunks
        found["writes_per_chunk"] = (after.writes - before.writes) / report.chunks
    return found


def _calls(folder: Path, upstream: int) -> dict[str, float]:
    """Python calls per request and per chunk: differences between two loads, so what is done once
    cancels out. The main thread's only.
    """
    found: dict[tuple[str, bool], tuple[int, int]] = {}
    for name, size in PROFILED.items():
        for stream in (False, True):
            found[name, stream] = _profiled(folder, upstream, size, stream=stream)
    per: dict[bool, float] = {}
    for stream in (False, True):
        many, few = found["many", stream], found["few", stream]
        per[stream] = (many[0] - few[0]) / (many[1] - few[1])
    return {"calls_per_request": per[False], "calls_per_chunk": per[True]}


def _profiled(folder: Path, upstream: int, size: int, *, stream: bool) -> tuple[int, int]:
    """Calls of one whole life of a server, and the requests or chunks that it had."""
    profile = folder / "profile"
    program = ("-m", "cProfile", "-o", str(profile), "-m", "zaffre")
    with _zaffre(folder, upstream, program=program) as arm:
        wanted = (
            gateway.asked(arm, stream_tokens=size, callers=PROFILED_STREAMS, turns=1)
            if stream
            else gateway.asked(arm, callers=PROFILED_CALLERS, turns=size)
        )
        report = load.run(wanted)
    calls: int = pstats.Stats(str(profile)).total_calls  # type: ignore[attr-defined]
    return calls, report.chunks if stream else report.requests


def _left(folder: Path, upstream: int) -> dict[str, float]:
    """What a server holds after many requests and broken-off streams that it did not before."""
    window = folder / "window"
    options: Mapping[str, Any] = {
        "program": ("-m", "bench.watched"),
        "environment": {WINDOW: str(window)},
    }
    with _zaffre(folder, upstream, **options) as arm:
        server = arm.server
        if server is None:
            raise RuntimeError("Zaffre is not running.")
        _disturb(arm)  # once before, so that pools and caches have their size
        before = _held(server, window)
        _disturb(arm)
        after = _held(server, window)
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline and any(
            after[name] > before[name] for name in ("tasks", "open_files")
        ):
            after = _held(server, window)
        requests = LEFT_REQUESTS + LEFT_STREAMS
        return {
            "tasks_left": after["tasks"] - before["tasks"],
            "open_files_left": after["open_files"] - before["open_files"],
            "objects_per_request": (after["objects"] - before["objects"]) / requests,
            "blocks_per_request": (after["blocks"] - before["blocks"]) / requests,
        }


def _disturb(arm: Arm) -> None:
    load.run(gateway.asked(arm, callers=20, turns=LEFT_REQUESTS // 20))
    left: dict[str, Any] = {"callers": LEFT_STREAMS, "duration_s": 1.0, "leave": True}
    load.run(gateway.asked(arm, stream_tokens=STREAM_TOKENS, **left))


def _held(server: Server, window: Path) -> dict[str, int]:
    time.sleep(1)
    window.write_text("")
    server.process.send_signal(signal.SIGUSR1)
    while not (text := window.read_text()).endswith("\n"):
        time.sleep(0.05)
    held: dict[str, int] = json.loads(text)
    return held | {"open_files": server.open_files()}


# --- limits ------------------------------------------------------------------------------------


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Every limit, held against the rows."""
    values = {name: figure.median for row in rows for name, figure in row.figures.items()}
    ours = find(rows, SSE_WORKLOAD, UPSTREAM)
    if ours is not None:  # the hop has these, too
        values |= {name: figure.median for name, figure in ours.figures.items()}
    for name, workload, figure_ in (
        ("request_cpu_by_hop", JSON_WORKLOAD, "cpu_us_per_request"),
        ("chunk_cpu_by_hop", SSE_WORKLOAD, "cpu_us_per_chunk"),
    ):
        one, other = (find(rows, workload, arm) for arm in (UPSTREAM, HOP))
        if one is not None and other is not None:
            values[name] = ratio(one, other, figure_).median
    return [_bar(limit, values[name]) for name, limit in LIMITS.items()]


def _bar(limit: Limit, value: float) -> Bar:
    verdict: Verdict = "met" if value <= limit.breaking else "not met"
    remark = f"fails above {limit.breaking:g}" if limit.margin else ""
    return Bar(
        what=limit.what,
        bar=f"≤ {limit.bound:g}",
        measured=f"{value:.3g}",
        verdict=verdict,
        remark=remark,
    )
