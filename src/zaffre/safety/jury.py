"""The jury: all filters of a policy at once, within bounds, and the worst of their verdicts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from msgspec import Struct

from zaffre.core.calls import ImagePart
from zaffre.core.errors import ZaffreError
from zaffre.core.safety import Filter, FilterFailedError, ImageFilter, Passage, Verdict

MAX_JUDGEMENTS = 64
"""Judgements under way at a time in one gateway process; more wait, within their time."""

Judging = Callable[[], Awaitable[list[Verdict]]]

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
        asked = [self._ask(each.name, partial(each.judge, passages)) for each in self._filters]
        return _worst(await asyncio.gather(*asked))

    async def judge_images(self, images: Sequence[ImagePart]) -> Judgement:
        """What is found in `images`; failed, too, when no filter judges images."""
        if not images:
            return Judgement()
        asked = [
            self._ask(each.name, partial(each.judge_images, images))
            for each in self._filters
            if isinstance(each, ImageFilter)
        ]
        return _worst(await asyncio.gather(*asked)) if asked else Judgement(failed=True)

    async def _ask(self, name: str, judging: Judging) -> Judgement:
        try:
            async with asyncio.timeout(self._timeout_s):
                verdicts = await self._in_turn(judging)
        except TimeoutError:
            self._tell(name, f"no verdict within {self._timeout_s:g} s")
        except FilterFailedError as failure:
            self._tell(name, str(failure))
        except ZaffreError as error:  # its message may quote what was judged
            self._tell(name, error.code)
        except Exception as bug:  # noqa: BLE001 - the fence: the policy decides what follows
            self._tell(name, type(bug).__name__)
        else:
            self._tell(name, None)
            return _worst([Judgement(verdict) for verdict in verdicts])
        return Judgement(failed=True)

    async def _in_turn(self, judging: Judging) -> list[Verdict]:
        async with self._room:
            return await judging()

    def _tell(self, name: str, trouble: str | None) -> None:
        """Log when a filter begins to fail and when it works again, not every time."""
        if trouble is None and name in self._failing:
            self._failing.discard(name)
            log.warning("content filter %s works again", name)
        elif trouble is not None and name not in self._failing:
            self._failing.add(name)
            log.warning("content filter %s fails: %s", name, trouble)


def _worst(judgements: Sequence[Judgement]) -> Judgement:
    worst = Judgement()
    for judgement in judgements:
        worst = worst.joined(judgement)
    return worst
