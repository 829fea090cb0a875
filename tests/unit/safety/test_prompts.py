"""Prompts: what of a call is judged, and what becomes of it."""

import pytest
from scripted_filters import BrokenFilter, RuleFilter, SeeingFilter, finding, screen

from zaffre.core.calls import (
    AssistantMessage,
    AudioPart,
    ChatCall,
    CompletionCall,
    GenerationCall,
    ImagePart,
    JsonSchema,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.errors import ContentFiltered, ModelUnavailable, UnsupportedParameter
from zaffre.core.safety import (
    SEVERITIES,
    FilterFailedError,
    Passage,
    ScreenReport,
    Severity,
    Threshold,
    Thresholds,
    Verdict,
)
from zaffre.safety.screen import Screen


def said(text: str) -> ChatCall:
    return ChatCall((UserMessage((TextPart(text),)),))


def shown(content: str) -> ChatCall:
    return ChatCall((UserMessage((ImagePart(content.encode(), "image/png"),)),))


async def checked(screening: Screen, call: GenerationCall) -> ScreenReport:
    report = ScreenReport()
    await screening.check_prompt(call, report)
    return report


WHOLE = ChatCall(
    messages=(
        SystemMessage("You are foo1."),
        UserMessage((TextPart("foo2 and fo"), TextPart("o3"))),
        AssistantMessage("foo4", (ToolCall("1", "foo5", '{"a": "f\\u006fo6"}'),)),
        ToolMessage("1", "foo7"),
    ),
    tools=(Tool("foo8", {"properties": {"foo9": {"description": "foo10"}}}, "foo11"),),
    format=JsonSchema("s", {"description": "foo12"}),
)


@pytest.mark.parametrize("number", range(1, 13))
async def test_everything_that_the_model_sees_is_judged(number: int):
    with pytest.raises(ContentFiltered) as refused:
        await checked(screen(RuleFilter(finding(f"foo{number}"))), WHOLE)
    assert refused.value.screened.filtered == {"hate"}


async def test_who_said_it_is_told():
    rule = RuleFilter(lambda _: Verdict())
    await checked(screen(rule), WHOLE)
    sources = {passage.text.split("\n")[0]: passage.source for passage in rule.seen}
    assert sources["You are foo1."] == "system"
    assert sources["foo2 and fo"] == sources["foo2 and foo3"] == "user"
    assert (sources["foo4"], sources["foo7"], sources["foo8"]) == ("assistant", "tool", "system")


@pytest.mark.parametrize("threshold", ["low", "medium", "high", "off"])
@pytest.mark.parametrize("severity", SEVERITIES)
async def test_thresholds(severity: Severity, threshold: Threshold):
    order = [*SEVERITIES, "off"]
    rule = RuleFilter(lambda _: Verdict({"sexual": severity}))
    screening = screen(rule, prompts=Thresholds(sexual=threshold))

    if order.index(severity) >= order.index(threshold):
        with pytest.raises(ContentFiltered):
            await checked(screening, said("x"))
    else:
        report = await checked(screening, said("x"))
        assert report.prompts[0].verdict.severities == {"sexual": severity}


async def test_prompts_and_completions_have_thresholds_of_their_own():
    rule = RuleFilter(lambda _: Verdict({"sexual": "medium"}))
    report = await checked(screen(rule, prompts=Thresholds(sexual="high")), said("x"))
    assert not report.prompts[0].filtered


@pytest.mark.parametrize("counts", [True, False])
async def test_a_jailbreak_counts_where_the_policy_says_so(counts: bool):
    screening = screen(RuleFilter(lambda _: Verdict({}, {"jailbreak": True})), jailbreak=counts)
    if counts:
        with pytest.raises(ContentFiltered) as refused:
            await checked(screening, said("x"))
        assert refused.value.screened.filtered == {"jailbreak"}
    else:
        report = await checked(screening, said("x"))
        assert report.prompts[0].verdict.detections == {"jailbreak": True}


async def test_the_worst_of_all_filters_counts():
    mild = RuleFilter(lambda _: Verdict({"hate": "low", "violence": "safe"}))
    grave = RuleFilter(lambda p: Verdict({"hate": "medium" if p.source == "user" else "safe"}))
    with pytest.raises(ContentFiltered) as refused:
        await checked(screen(mild, grave), WHOLE)
    assert refused.value.screened.verdict.severities == {"hate": "medium", "violence": "safe"}


async def test_each_prompt_of_a_completion_is_reported():
    screening = screen(RuleFilter(finding("foo")), prompts=Thresholds(hate="off"))
    report = await checked(screening, CompletionCall(("fine", "foo"), suffix="end"))
    found = [report.prompts[n].verdict.severities["hate"] for n in (0, 1)]
    assert found == ["safe", "high"]


@pytest.mark.parametrize("failure", [None, FilterFailedError("down"), ZeroDivisionError()])
async def test_a_failure_follows_the_policy(failure: Exception | None):
    broken = BrokenFilter(failure)
    report = await checked(screen(broken, timeout_s=0.01), said("x"))
    assert report.prompts[0].failed

    with pytest.raises(ModelUnavailable) as refused:
        await checked(screen(broken, timeout_s=0.01, on_failure="closed"), said("x"))
    assert refused.value.retry_after_s


async def test_the_log_tells_of_a_failure_once_and_never_of_the_text(caplog):
    class Flaky(BrokenFilter):
        async def judge(self, passages: list[Passage]) -> list[Verdict]:
            await super().judge(passages) if self.failure else None
            return [Verdict()]

    flaky = Flaky(KeyError("canary"))
    screening = screen(flaky)
    for _ in range(3):
        await checked(screening, said("canary"))
    flaky.failure = None
    await checked(screening, said("canary"))

    assert [record.getMessage() for record in caplog.records] == [
        "content filter broken fails: KeyError",
        "content filter broken works again",
    ]


async def test_images_are_judged_by_filters_that_see():
    seeing = SeeingFilter(lambda _: Verdict())
    with pytest.raises(ContentFiltered):
        await checked(screen(seeing), shown("high"))
    report = await checked(screen(seeing), shown("low"))
    assert report.prompts[0].verdict.severities == {"violence": "low"}
    assert not report.prompts[0].failed


@pytest.mark.parametrize(
    "call",
    [
        shown("high"),
        ChatCall((UserMessage((AudioPart(b"", "wav"), TextPart("x"))),)),
        CompletionCall(("x", (1, 2))),
    ],
)
async def test_what_nobody_can_judge_follows_the_policy(call: GenerationCall):
    blind = RuleFilter(lambda _: Verdict())
    report = await checked(screen(blind), call)
    assert any(screened.failed for screened in report.prompts.values())

    with pytest.raises(UnsupportedParameter):
        await checked(screen(blind, on_failure="closed"), call)


async def test_nothing_said_is_nothing_judged():
    rule = RuleFilter(lambda _: Verdict())
    report = await checked(screen(rule), said("  \n"))
    assert (rule.seen, report.prompts[0].filtered) == ([], frozenset())
    assert report.ran
