"""The jury: all filters of a policy at once, within bounds, and the worst of their verdicts.

Who can tell at once is asked on the spot: a task, a timeout and a place in the room cost more than
a look at a blocklist.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial, reduce
from typing import Any

from msgspec import Struct

from zaffre.core.calls import ImagePart
from zaffre.core.errors import ZaffreError
from zaffre.core.safety import (
    Filter,
    FilterFailedError,
    ImageFilter,
    InstantFilter,
    Passage,
    Verdict,
)

MAX_JUDGEMENTS = 64
"""Judgements under way at a time in one gateway process; more wait, within their time."""

Judging = Callable[[], Awaitable[list[Verdict]]]
InstantJudging = Callable[[], list[Verdict] | None]

log = logging.getLogger("zaffre.safety")


class Judgement(Struct, frozen=True):
    """What the filters found, and whether one of them could not say."""

    verdict: Verdict = Verdict()
    """The worst of all items and filters."""
    failed: bool = False

    def joined(self, other: "Judgement") -> "Judgement":
        """The worst of both."""
        return Judgement(self.verdict.joined(other.verdict), self.failed or other.failed)


class Jury:
    """Asks `filters`, each for at most `timeout_s`, in the `room` that all juries share."""

    def __init__(
        self, filters: Sequence[Filter], room: asyncio.Semaphore, *, timeout_s: float
    ) -> None:
        self._filters = tuple(filters)
        self._instant = tuple(
            each.judge_now if isinstance(each, InstantFilter) else None for each in filters
        )
        self._room = room
        self._timeout_s = timeout_s
        self._failing: set[str] = set()
        self.reach = max((judge.reach for judge in filters), default=0)
        """See `Filter.reach`."""

    @property
    def sees_images(self) -> bool:
        """Whether any filter judges images."""
        return any(isinstance(each, ImageFilter) for each in self._filters)

    async def judge(self, passages: Sequence[Passage]) -> Judgement:
        """What is found in `passages`; never raises for a filter's failure."""
        if not passages:
            return Judgement()
        found: list[Judgement] = []
        asked: list[Coroutine[Any, Any, Judgement]] = []
        for each, judge_now in zip(self._filters, self._instant, strict=True):
            known = judge_now and self._at_once(each.name, partial(judge_now, passages))
            if known is None:
                asked.append(self._ask(each.name, partial(each.judge, passages)))
            else:
                found.append(known)
        return _worst([*found, *await _all(asked)])

    async def judge_images(self, images: Sequence[ImagePart]) -> Judgement:
        """What is found in `images`; failed, too, when no filter judges images."""
        if not images:
            return Judgement()
        asked = [
            self._ask(each.name, partial(each.judge_images, images))
            for each in self._filters
            if isinstance(each, ImageFilter)
        ]
        return _worst(await _all(asked)) if asked else Judgement(failed=True)

    async def judge_both(
        self, passages: Sequence[Passage], images: Sequence[ImagePart]
    ) -> Judgement:
        """What is found in `passages` and in `images`, which are judged at the same time."""
        if not images:
            return await self.judge(passages)
        return _worst(await _all([self.judge(passages), self.judge_images(images)]))

    def _at_once(self, name: str, judging: InstantJudging) -> Judgement | None:
        try:
            verdicts = judging()
        except Exception as trouble:  # noqa: BLE001 - the fence: the policy decides what follows
            return self._failed(name, trouble)
        return None if verdicts is None else self._told(name, verdicts)

    async def _ask(self, name: str, judging: Judging) -> Judgement:
        try:
            async with asyncio.timeout(self._timeout_s):
                verdicts = await self._in_turn(judging)
        except Exception as trouble:  # noqa: BLE001 - the fence: the policy decides what follows
            return self._failed(name, trouble)
        return self._told(name, verdicts)

    async def _in_turn(self, judging: Judging) -> list[Verdict]:
        async with self._room:
            return await judging()

    def _told(self, name: str, verdicts: Sequence[Verdict]) -> Judgement:
        if name in self._failing:
            self._failing.discard(name)
            log.warning("content filter %s works again", name)
        return _worst([Judgement(verdict) for verdict in verdicts])

    def _failed(self, name: str, trouble: Exception) -> Judgement:
        """Log when a filter begins to fail, not every time."""
        if name not in self._failing:
            self._failing.add(name)
            log.warning("content filter %s fails: %s", name, self._reason(trouble))
        return Judgement(failed=True)

    def _reason(self, trouble: Exception) -> str:
        """Why a filter failed, without what was judged: messages of others may quote it."""
        match trouble:
            case TimeoutError():
                return f"no verdict within {self._timeout_s:g} s"
            case FilterFailedError():
                return str(trouble)
            case ZaffreError():
                return trouble.code
            case _:
                return type(trouble).__name__


async def _all(asked: Sequence[Coroutine[Any, Any, Judgement]]) -> list[Judgement]:
    """All answers; one alone needs no task."""
    if len(asked) <= 1:
        return [await each for each in asked]
    return await asyncio.gather(*asked)


def _worst(judgements: Sequence[Judgement]) -> Judgement:
    return reduce(Judgement.joined, judgements) if judgements else Judgement()
