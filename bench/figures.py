"""Figures: rounds of several arms in turns, each number as median and spread, bars and verdicts."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from bench import machine

MAX_TRIES = 6
"""Tries of a round that others' work spoils."""
Verdict = Literal["beyond", "met", "not met", "not measured"]


class Figure(Struct, frozen=True):
    """One number over all rounds."""

    median: float
    least: float
    most: float
    rounds: list[float]


class Row(Struct, frozen=True, kw_only=True):
    """What one arm did with one workload."""

    workload: str
    arm: str
    figures: dict[str, Figure]
    """By name with its unit last."""


class Bar(Struct, frozen=True, kw_only=True):
    """A bar that was set before, and what came of it."""

    what: str
    bar: str
    beyond: str = ""
    measured: str
    verdict: Verdict
    remark: str = ""


Measure = Callable[[], Mapping[str, float]]
"""Runs one round of one arm."""


class Rounds:
    """Runs arms in turns, and keeps out rounds in which others used the machine."""

    def __init__(
        self, count: int, *, busy: bool, wait_s: float, say: Callable[[str], None]
    ) -> None:
        """With `busy`, others' use is noted and tolerated; `wait_s`: longest wait for their end."""
        self.count = count
        self.busy = busy
        self._wait_s = wait_s
        self.most_foreign_cores = 0.0
        self._say = say

    def run(self, workload: str, arms: Mapping[str, Measure]) -> list[Row]:
        """All rounds of `arms`: A B A B, each arm's numbers by name."""
        seen: dict[str, list[Mapping[str, float]]] = {arm: [] for arm in arms}
        for number in range(self.count):
            for arm, measure in arms.items():
                seen[arm].append(self._once(measure))
                shown = "  ".join(f"{name} {value:g}" for name, value in seen[arm][-1].items())
                self._say(f"{workload}, round {number + 1}, {arm}: {shown}")
        return [
            Row(workload=workload, arm=arm, figures=gathered(rounds))
            for arm, rounds in seen.items()
        ]

    def _once(self, measure: Measure) -> Mapping[str, float]:
        for _ in range(MAX_TRIES):
            before = machine.usage()
            found = measure()
            foreign = machine.foreign_cores(before)
            if self.busy or foreign <= machine.MAX_FOREIGN_CORES:
                self.most_foreign_cores = max(self.most_foreign_cores, foreign)
                return found
            self._say(f"others used {foreign:.2f} cores; again")
            machine.check_quiet(wait_s=self._wait_s)
        raise machine.BusyMachineError(
            f"Others spoiled {MAX_TRIES} tries of one round. Wait, or measure with --busy."
        )


def gathered(rounds: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """Each name's numbers over all rounds."""
    return {name: figure([round_[name] for round_ in rounds]) for name in rounds[0]}


def figure(numbers: Sequence[float]) -> Figure:
    """The figure of numbers, one per round."""
    kept = [_short(number) for number in numbers]
    return Figure(_short(statistics.median(kept)), min(kept), max(kept), kept)


def difference(one: Row, other: Row, name: str) -> Figure:
    """`name` of `one` less that of `other`, round by round."""
    pairs = zip(one.figures[name].rounds, other.figures[name].rounds, strict=True)
    return figure([a - b for a, b in pairs])


def ratio(one: Row, other: Row, name: str, other_name: str | None = None) -> Figure:
    """`name` of `one` by `other_name` (or the same) of `other`, round by round."""
    below = other.figures[other_name or name].rounds
    pairs = zip(one.figures[name].rounds, below, strict=True)
    return figure([a / b for a, b in pairs])


def find(rows: Sequence[Row], workload: str, arm: str) -> Row | None:
    """The row of a workload and arm, if it was measured."""
    return next((row for row in rows if (row.workload, row.arm) == (workload, arm)), None)


def judge(value: float, bar: float, beyond: float | None, *, most: bool) -> Verdict:
    """What `value` is next to a bar, which is an upper bound if `most`, else a lower one."""

    def reaches(bound: float) -> bool:
        return value <= bound if most else value >= bound

    if beyond is not None and reaches(beyond):
        return "beyond"
    return "met" if reaches(bar) else "not met"


def _short(number: float) -> float:
    """Four digits that count: more would pretend to know."""
    return float(f"{number:.4g}")
