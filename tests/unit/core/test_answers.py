"""Answers: what the deltas of a generation add up to."""

import pytest

from zaffre.core.answers import Answer, Choice, gather
from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Delta,
    Deltas,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed, ZaffreError


async def say(*deltas: Delta) -> Deltas:
    for delta in deltas:
        yield delta


async def test_choices_are_put_together_by_their_index():
    token = TokenLogprob("b", -1.0, b"b")
    call = ToolCall("1", "f", "{}")
    answer = await gather(
        say(
            TextDelta("a", 1),
            TextDelta("b", 0, (token,)),
            ReasoningDelta("hm", 0),
            TextDelta("c", 1),
            ToolCallDelta(call, 0),
            Finish("tool_calls", 0),
            ReasoningDelta("m", 1),
            Finish("length", 1),
            Usage(3, 4),
        )
    )
    assert answer == Answer(
        (
            Choice(0, "b", "hm", [call], [token], "tool_calls"),
            Choice(1, "ac", "m", [], [], "length"),
        ),
        Usage(3, 4),
    )
    assert answer.usage.total_tokens == 7


async def test_two_answers_share_nothing():
    one = await gather(say(Finish("stop"), Usage(1)))
    one.choices[0].tool_calls.append(ToolCall("1", "f", "{}"))
    two = await gather(say(Finish("stop"), Usage(1)))
    assert two.choices[0].tool_calls == []


@pytest.mark.parametrize("deltas", [[], [TextDelta("a")], [TextDelta("a"), Finish("stop")]])
async def test_what_ends_before_its_usage_is_no_answer(deltas: list[Delta]):
    with pytest.raises(EngineFailed):
        await gather(say(*deltas))


def _kinds(root: type[ZaffreError]) -> list[type[ZaffreError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]


def test_every_error_has_a_word_and_can_be_restored():
    for kind in _kinds(ZaffreError):
        assert kind.code.replace("_", "").isalpha()
        plain = ZaffreError("Why.", location=("a", 1), value=2, retry_after_s=3)
        restored = kind.restore(plain)
        assert type(restored) is kind
        assert str(restored) == restored.message == "Why."
        assert (restored.location, restored.value, restored.retry_after_s) == (("a", 1), 2, 3)
