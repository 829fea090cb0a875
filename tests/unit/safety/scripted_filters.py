"""Filters and answers that do what a test says."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from zaffre.core.calls import ImagePart
from zaffre.core.deltas import Batches, Delta, Deltas
from zaffre.core.safety import FilterFailedError, Passage, Policy, ScreenReport, Verdict
from zaffre.safety.screen import Screen

Rule = Callable[[Passage], Verdict]


class RuleFilter:
    """Judges by a function, and remembers what it was asked."""

    name = "rule"

    def __init__(self, rule: Rule, reach: int = 0) -> None:
        self.rule = rule
        self.reach = reach
        self.seen: list[Passage] = []

    async def judge(self, passages: Sequence[Passage]) -> list[Verdict]:
        self.seen += passages
        return [self.rule(passage) for passage in passages]


class SeeingFilter(RuleFilter):
    """Judges images, too: the content of an image is its verdict on violence."""

    async def judge_images(self, images: Sequence[ImagePart]) -> list[Verdict]:
        return [Verdict({"violence": image.content.decode()}) for image in images]


class BrokenFilter:
    """Fails with what it is given; with nothing, it never answers."""

    name = "broken"
    reach = 0

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def judge(self, _passages: Sequence[Passage]) -> list[Verdict]:
        if self.failure is not None:
            raise self.failure
        await asyncio.Event().wait()
        raise FilterFailedError("never")


def finding(word: str, category: str = "hate") -> Rule:
    """Texts with `word` in them are of high severity."""
    return lambda passage: Verdict({category: "high" if word in passage.text else "safe"})


def screen(*filters: object, **policy: object) -> Screen:
    """A screen with its own room."""
    return Screen(Policy(**policy), filters, asyncio.Semaphore(8))


async def said(deltas: Iterable[Delta]) -> Deltas:
    for delta in deltas:
        await asyncio.sleep(0)
        yield delta


async def stream(deltas: Iterable[Delta], at_a_time: int = 1) -> Batches:
    """`deltas`, so many in a batch."""
    left = list(deltas)
    while left:
        await asyncio.sleep(0)
        yield left[:at_a_time]
        left = left[at_a_time:]


async def watched(
    watching: Screen, deltas: Iterable[Delta], at_a_time: int = 1
) -> tuple[list[Delta], ScreenReport]:
    """What leaves of `deltas`, which come so many at a time, and what is reported."""
    report = ScreenReport()
    batches = watching.watch(stream(deltas, at_a_time), report)
    return [delta async for batch in batches for delta in batch], report
