"""The hold-back: whatever the pieces, flagged text never leaves, and the rest leaves whole."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_filters import BrokenFilter, RuleFilter, finding, screen, stream, watched

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import Delta, Finish, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from zaffre.core.errors import ModelUnavailable
from zaffre.core.safety import Blocklist, FilterFailedError, ScreenReport, Verdict
from zaffre.safety.blocklist import BlocklistFilter
from zaffre.safety.folding import fold

USAGE = Usage(3, 5)
WORD = "grue bleen"
DISGUISES = [
    "grue bleen",
    "GRUE  Bleen",
    "g\u200brue\nbleen",
    "ｇrue blee\u0336n",
    "gru\u00ade bleen",
]
harmless = st.text(st.sampled_from("ab .\n!é\u200b語。"), max_size=300)


def listed(*words: str) -> BlocklistFilter:
    return BlocklistFilter({"house": Blocklist(words=words)})


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def text_of(deltas: list[Delta], index: int = 0) -> str:
    return "".join(d.text for d in deltas if isinstance(d, TextDelta) and d.index == index)


def reason_of(deltas: list[Delta], index: int = 0) -> str:
    return next(d.reason for d in deltas if isinstance(d, Finish) and d.index == index)


batch_sizes = st.integers(1, 9)


@given(harmless, st.lists(st.integers(0, 400), max_size=40), batch_sizes)
async def test_harmless_text_leaves_as_it_came(text: str, cuts: list[int], at_a_time: int):
    deltas: list[Delta] = [TextDelta(piece) for piece in pieces(text, cuts)]
    deltas += [Finish("stop"), USAGE]

    left, report = await watched(screen(listed(WORD), blocklists=("house",)), deltas, at_a_time)

    assert left == deltas
    assert not report.choices or not report.choices[0].filtered


@given(
    harmless,
    st.sampled_from(DISGUISES),
    harmless,
    st.lists(st.integers(0, 700), max_size=60),
    batch_sizes,
)
async def test_nothing_of_a_flagged_phrase_leaves(
    before: str, phrase: str, after: str, cuts: list[int], at_a_time: int
):
    text = f"{before} {phrase} {after}"
    deltas: list[Delta] = [TextDelta(piece) for piece in pieces(text, cuts)]
    deltas += [Finish("stop"), USAGE]

    left, report = await watched(screen(listed(WORD), blocklists=("house",)), deltas, at_a_time)

    assert before.startswith(text_of(left)[: len(before)])
    assert len(text_of(left)) <= len(before) + 1
    assert left[-2:] == [Finish("content_filter"), USAGE]
    assert report.choices[0].filtered == {"blocklist:house"}


@pytest.mark.parametrize("phrase", DISGUISES)
@pytest.mark.parametrize("size", [*range(145, 162), 474, 475, 476])
async def test_a_phrase_may_lie_on_the_end_of_a_window(phrase: str, size: int):
    deltas: list[Delta] = [TextDelta(c) for c in f"{'a' * size} {phrase} and so on. "]
    deltas += [Finish("stop"), USAGE]

    left, _ = await watched(screen(listed(WORD), blocklists=("house",)), deltas)

    assert len(text_of(left)) <= size + 1
    assert left[-2:] == [Finish("content_filter"), USAGE]


@given(st.lists(st.integers(0, 900), max_size=60))
async def test_what_is_judged_does_not_depend_on_the_pieces(cuts: list[int]):
    text = "One sentence that is long enough to be judged. " * 3 + "word " * 90 + "x" * 50
    whole, cut = RuleFilter(lambda _: Verdict()), RuleFilter(lambda _: Verdict())

    await watched(screen(whole), [TextDelta(text), Finish("stop"), USAGE])
    await watched(screen(cut), [*map(TextDelta, pieces(text, cuts)), Finish("stop"), USAGE])

    assert cut.seen == whole.seen


@pytest.mark.parametrize("filler", ["word ", "字", "x", "e\u0301 "])
async def test_the_wait_is_bounded(filler: str):
    """Given an endless answer, when it comes piece by piece, then little of it is held."""
    watching = screen(RuleFilter(lambda _: Verdict(), reach=20))
    seen = 0

    async def endless():
        nonlocal seen
        while True:
            seen += len(filler)
            yield [TextDelta(filler)]

    left = watching.watch(endless(), ScreenReport())
    first = await anext(left)
    await left.aclose()

    assert first[0] == TextDelta(filler)
    assert seen <= 600


async def test_what_is_cleared_leaves_before_a_failure_in_the_same_batch():
    """Given two sentences in one batch, when the filter fails on the second, then the first one
    leaves, and after it the error."""

    class TiredFilter(RuleFilter):
        async def judge(self, passages):
            if len(self.seen) > 0:
                raise FilterFailedError("tired")
            return await super().judge(passages)

    sentences = "One sentence that is long enough to be judged. ", "Another one, also long enough. "
    watching = screen(TiredFilter(lambda _: Verdict()), on_failure="closed")
    left = watching.watch(stream(map(TextDelta, sentences * 3), at_a_time=6), ScreenReport())
    assert text_of(await anext(left)) == sentences[0]
    with pytest.raises(ModelUnavailable):
        await anext(left)


async def test_a_choice_is_filtered_and_the_others_go_on():
    safe, bad = "all is well here. " * 4, "all was well until foo came. " * 4
    deltas: list[Delta] = []
    for word_safe, word_bad in zip(safe.split(), bad.split(), strict=False):
        deltas += [TextDelta(word_safe + " ", 0), TextDelta(word_bad + " ", 1)]
    deltas += [Finish("stop", 0), TextDelta("never", 1), Finish("length", 1), USAGE]

    left, report = await watched(screen(RuleFilter(finding("foo"))), deltas)

    assert text_of(left, 0) == safe
    assert "foo" not in text_of(left, 1)
    assert (reason_of(left, 0), reason_of(left, 1)) == ("stop", "content_filter")
    assert sum(isinstance(d, Finish) for d in left) == 2
    assert left[-1] == USAGE
    assert report.choices[1].filtered == {"hate"}
    assert report.choices[0].verdict.severities == {"hate": "safe"}


async def test_thoughts_and_tool_calls_are_judged():
    call = ToolCall("1", "send", '{"text": "f\\u006fo"}')
    for delta in (ReasoningDelta("about foo"), ToolCallDelta(call)):
        deltas: list[Delta] = [delta, TextDelta("hello"), Finish("stop"), USAGE]

        left, _ = await watched(screen(RuleFilter(finding("foo"))), deltas)

        assert left == [Finish("content_filter"), USAGE]


async def test_kinds_keep_their_order():
    deltas: list[Delta] = [
        ReasoningDelta("Let me "),
        ReasoningDelta("think"),
        TextDelta("Calling a tool"),
        ToolCallDelta(ToolCall("1", "f", "{not json")),
        Finish("tool_calls"),
        USAGE,
    ]

    left, _ = await watched(screen(RuleFilter(finding("foo"), reach=30)), deltas)

    assert left == deltas


async def test_a_phrase_across_a_tool_call_is_found():
    deltas: list[Delta] = [
        TextDelta("say grue "),
        ToolCallDelta(ToolCall("1", "f", "{}")),
        TextDelta("bleen"),
        Finish("stop"),
        USAGE,
    ]

    left, _ = await watched(screen(listed(WORD), blocklists=("house",)), deltas)

    assert left == [Finish("content_filter"), USAGE]


async def test_text_whose_finish_never_comes_is_judged_before_the_usage():
    left, _ = await watched(screen(RuleFilter(finding("foo"))), [TextDelta("foo"), USAGE])
    assert left == [Finish("content_filter"), USAGE]

    left, _ = await watched(screen(RuleFilter(finding("foo"))), [TextDelta("bar"), USAGE])
    assert left == [TextDelta("bar"), USAGE]


async def test_an_answer_that_is_cut_off_stays_cut_off():
    left, _ = await watched(screen(RuleFilter(finding("foo"))), [TextDelta("no end")])
    assert left == []


@pytest.mark.parametrize("failure", [None, FilterFailedError("down"), KeyError("bug")])
async def test_a_failure_follows_the_policy(failure: Exception | None):
    deltas: list[Delta] = [TextDelta("hello"), Finish("stop"), USAGE]
    broken = BrokenFilter(failure)

    open_screen = screen(broken, timeout_s=0.01, on_failure="serve_annotated")
    left, report = await watched(open_screen, deltas)
    assert left == deltas
    assert report.choices[0].failed

    with pytest.raises(ModelUnavailable):
        await watched(screen(broken, timeout_s=0.01, on_failure="closed"), deltas)


async def test_one_filter_is_enough_to_flag_when_another_fails():
    both = screen(BrokenFilter(FilterFailedError("down")), RuleFilter(finding("foo")))
    left, report = await watched(both, [TextDelta("foo"), Finish("stop"), USAGE])
    assert left == [Finish("content_filter"), USAGE]
    assert report.choices[0].failed


async def test_asynchronous_mode_sends_at_once_and_annotates():
    gate = asyncio.Event()

    class SlowFilter(RuleFilter):
        async def judge(self, passages):
            await gate.wait()
            return await super().judge(passages)

    report = ScreenReport()
    watching = screen(SlowFilter(finding("foo")), mode="asynchronous")
    deltas: list[Delta] = [TextDelta("A sentence about foo, which is bad. "), TextDelta("bye")]
    left = watching.watch(stream([*deltas, Finish("stop"), USAGE]), report)

    assert [await anext(left), await anext(left)] == [[delta] for delta in deltas]
    assert not report.choices
    gate.set()
    assert [batch async for batch in left] == [[Finish("stop")], [USAGE]]
    assert report.choices[0].filtered == {"hate"}


async def test_asynchronous_mode_leaves_nothing_behind():
    watching = screen(BrokenFilter(), mode="asynchronous", timeout_s=60)
    left = watching.watch(stream([TextDelta("x" * 600), Finish("stop")]), ScreenReport())
    await anext(left)
    before = len(asyncio.all_tasks())
    await left.aclose()
    assert len(asyncio.all_tasks()) == before - 1


async def test_closing_closes_the_answer():
    closed = False

    async def answer():
        nonlocal closed
        try:
            yield [TextDelta("One sentence that is long enough to be judged. ")]
            yield [TextDelta("more")]
        finally:
            closed = True

    for mode in ("hold", "asynchronous"):
        closed = False
        left = screen(RuleFilter(finding("foo")), mode=mode).watch(answer(), ScreenReport())
        await anext(left)
        await left.aclose()
        assert closed


@given(harmless)
def test_folding_is_done_once(text: str):
    assert fold(fold(text)) == fold(text)
