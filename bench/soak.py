"""A fixed load for a while: whether the gateway's memory grows, and what stays behind."""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from msgspec import Struct

from bench import gateway, load
from bench.figures import Bar, Row, Verdict, gathered
from bench.gateway import GATEWAY_CORE, OTHERS_CORE, Arm
from bench.processes import KEY, Address, Server, free_port, served, work_folder, zaffre

SAMPLE_S = 1.0
WARM_UP_SHARE = 1 / 3
"""Of the time at the start, in which pools, caches and the ledger's pages fill."""
JSON_CALLERS, STREAMS, STREAM_TOKENS = 8, 32, 100
BAR_MIB_PER_H = 1.0
NAME, ARM = "8 JSON callers and 32 streams", "Zaffre, upstream"
PINNING = gateway.PINNING


class Slope(Struct, frozen=True):
    """A straight line through samples, and how sure it is."""

    per_h: float
    error_per_h: float
    """One standard error; the samples' ups and downs are taken as independent."""


class _Samples:
    """Memory over time."""

    def __init__(self, server: Server) -> None:
        self.times_s: list[float] = []
        self.memory_mib: list[float] = []
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._over.wait(SAMPLE_S):
            self.times_s.append(time.monotonic() - began_s)
            self.memory_mib.append(self._server.memory_mib())


def measure(minutes: float, say: Callable[[str], None]) -> list[Row]:
    """One row: one long round."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        port = free_port()
        mock = [sys.executable, "-m", "bench.mock", str(port)]
        stack.enter_context(served(mock, "mock", folder, cores=[OTHERS_CORE], port=port))
        server = stack.enter_context(zaffre(gateway.plan(port), folder, cores=[GATEWAY_CORE]))
        server.place_children(OTHERS_CORE)
        arm = Arm(ARM, Address(server.port, headers={"api-key": KEY}), server)
        gateway.warm_up([arm])
        before = server.open_files()
        samples = _Samples(server)
        requests = _soak(arm, minutes * 60, say)
        samples.stop()
        time.sleep(2)
        first = int(len(samples.times_s) * WARM_UP_SHARE)
        found = slope(samples.times_s[first:], samples.memory_mib[first:])
        figures = {
            "minutes": minutes,
            "requests": float(requests),
            "memory_mib_after_warm_up": samples.memory_mib[first],
            "memory_mib_at_end": samples.memory_mib[-1],
            "memory_slope_mib_per_h": found.per_h,
            "memory_slope_error_mib_per_h": found.error_per_h,
            "open_files_before": before,
            "open_files_after": server.open_files(),
        }
    return [Row(workload=NAME, arm=ARM, figures=gathered([figures]))]


def _soak(arm: Arm, duration_s: float, say: Callable[[str], None]) -> int:
    """Both loads at the same time; how many requests there were."""
    loads = [
        gateway.asked(arm, callers=JSON_CALLERS, duration_s=duration_s),
        gateway.asked(
            arm,
            stream_tokens=STREAM_TOKENS,
            callers=STREAMS,
            duration_s=duration_s,
            spread_s=2.0,
        ),
    ]
    reports: list[load.Report] = []
    threads = [
        threading.Thread(
            target=lambda one=one: reports.append(
                load.run(one, cores=[OTHERS_CORE], limit_s=duration_s + 60)
            )
        )
        for one in loads
    ]
    say(f"Soaking for {duration_s:.0f} s ...")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(reports) != len(loads):
        raise RuntimeError("A load of the soak failed.")
    return sum(report.requests for report in reports)


def slope(times_s: Sequence[float], numbers: Sequence[float]) -> Slope:
    """The straight line of least squares, per hour."""
    count = len(times_s)
    if count < 3:
        return Slope(0.0, math.inf)
    middle_s, middle = sum(times_s) / count, sum(numbers) / count
    spread = sum((t - middle_s) ** 2 for t in times_s)
    per_s = sum((t - middle_s) * (n - middle) for t, n in zip(times_s, numbers, strict=True))
    per_s /= spread
    left = (n - middle - per_s * (t - middle_s) for t, n in zip(times_s, numbers, strict=True))
    error = math.sqrt(sum(rest**2 for rest in left) / (count - 2) / spread)
    return Slope(per_s * 3600, error * 3600)


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bar of this suite. A soak that cannot tell says so."""
    figures = rows[0].figures
    per_h = figures["memory_slope_mib_per_h"].median
    error = figures["memory_slope_error_mib_per_h"].median
    minutes = figures["minutes"].median
    verdict: Verdict = "met" if per_h <= BAR_MIB_PER_H else "not met"
    remark = ""
    if abs(per_h - BAR_MIB_PER_H) < 2 * error:
        verdict, remark = "not measured", f"{minutes:g} minutes are too short to tell"
    return [
        Bar(
            what="memory slope after warm-up at fixed load",
            bar="≤ 1 MiB/h in 30 minutes",
            measured=f"{per_h:.1f} ± {2 * error:.1f} MiB/h in {minutes:g} minutes",
            verdict=verdict,
            remark=remark,
        )
    ]
