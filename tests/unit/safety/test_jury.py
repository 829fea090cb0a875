"""The jury: who can tell at once is asked on the spot, and all who judge count."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from scripted_filters import BrokenFilter, RuleFilter, SeeingFilter

from zaffre.core.calls import ImagePart
from zaffre.core.safety import Passage, Verdict
from zaffre.safety.jury import Judgement, Jury

ASKED = [Passage("a text", "user")]
MILD, GRAVE = Verdict({"hate": "low"}), Verdict({"hate": "high"})


class InstantRule(RuleFilter):
    """Tells at once, if it can."""

    name = "instant"

    def __init__(self, verdict: Verdict, *, knows: bool = True) -> None:
        super().__init__(lambda _: verdict)
        self.knows = knows
        self.failure: Exception | None = None

    def judge_now(self, passages: Sequence[Passage]) -> list[Verdict] | None:
        if self.failure is not None:
            raise self.failure
        return [self.rule(passage) for passage in passages] if self.knows else None


def jury(*filters: object, places: int = 8) -> Jury:
    return Jury(filters, asyncio.Semaphore(places), timeout_s=10.0)


def at_once(judging: Coroutine[Any, Any, Judgement]) -> Judgement:
    """What comes of `judging` without a single wait."""
    with pytest.raises(StopIteration) as done:
        judging.send(None)
    judgement: Judgement = done.value.value
    return judgement


def test_who_tells_at_once_needs_no_place_and_no_wait():
    """Given a full room, when only instant filters judge, then all is said without a wait."""
    both = jury(InstantRule(MILD), InstantRule(GRAVE), places=0)
    assert at_once(both.judge(ASKED)) == Judgement(GRAVE)


def test_without_images_nobody_is_asked_about_them():
    """Given an instant filter, when a prompt has no images, then there is no wait for them."""
    assert at_once(jury(InstantRule(MILD)).judge_both(ASKED, [])) == Judgement(MILD)


@pytest.mark.parametrize("verdicts", [(MILD, GRAVE), (GRAVE, MILD)])
async def test_instant_and_slow_verdicts_are_joined(verdicts: tuple[Verdict, Verdict]):
    """Given an instant and a slow filter, when they differ, then the worst counts."""
    instant, slow = verdicts
    found = await jury(InstantRule(instant), RuleFilter(lambda _: slow)).judge(ASKED)
    assert found == Judgement(GRAVE)


async def test_who_cannot_tell_at_once_is_asked_in_turn():
    """Given an instant filter that does not know yet, when it is asked in turn, then it tells."""
    unsure = InstantRule(GRAVE, knows=False)
    assert await jury(unsure).judge(ASKED) == Judgement(GRAVE)
    assert unsure.seen == ASKED


async def test_an_instant_filter_that_breaks_has_failed(caplog: pytest.LogCaptureFixture):
    """Given an instant filter with a bug, when it is asked, then that is a failure, told once."""
    broken = InstantRule(GRAVE)
    broken.failure = KeyError("canary")
    both = jury(broken, RuleFilter(lambda _: MILD))
    for _ in range(2):
        assert await both.judge(ASKED) == Judgement(MILD, failed=True)
    broken.failure = None
    with caplog.at_level(logging.WARNING):
        await both.judge(ASKED)
    assert [record.getMessage() for record in caplog.records] == [
        "content filter instant fails: KeyError",
        "content filter instant works again",
    ]


async def test_texts_and_images_are_judged_together():
    """Given a text and an image, when both are judged, then the findings of both are there."""
    seeing = SeeingFilter(lambda _: MILD)
    found = await jury(seeing).judge_both(ASKED, [ImagePart(b"high", "image/png")])
    assert found.verdict == Verdict({"hate": "low", "violence": "high"})


async def test_one_who_fails_takes_nothing_from_the_others():
    """Given a filter that fails and one that does not, when they judge, then both are told of."""
    found = await jury(BrokenFilter(ZeroDivisionError()), InstantRule(GRAVE)).judge(ASKED)
    assert found == Judgement(GRAVE, failed=True)
