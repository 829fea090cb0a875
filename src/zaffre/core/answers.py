"""Answers: what the deltas of one generation add up to."""

from collections.abc import Iterable

from msgspec import Struct

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Delta,
    Deltas,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed


class Choice(Struct):
    """One of the answers to a call."""

    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = []
    logprobs: list[TokenLogprob] = []
    finish_reason: FinishReason = "stop"


class Answer(Struct, frozen=True):
    """All choices, by index, and what they cost together."""

    choices: tuple[Choice, ...]
    usage: Usage


class Gathering:
    """Deltas, added up."""

    def __init__(self) -> None:
        self._choices: dict[int, Choice] = {}
        self._texts: dict[int, list[str]] = {}
        self._usage: Usage | None = None

    def add(self, delta: Delta) -> None:
        """One more."""
        if isinstance(delta, Usage):
            self._usage = delta
            return
        choice = self._choices.get(delta.index)
        if choice is None:
            choice = self._choices[delta.index] = Choice(delta.index)
        match delta:
            case TextDelta(text=text, logprobs=logprobs):
                self._texts.setdefault(delta.index, []).append(text)
                choice.logprobs.extend(logprobs)
            case ReasoningDelta(text=text):
                choice.reasoning += text
            case ToolCallDelta(call=call):
                choice.tool_calls.append(call)
            case Finish(reason=reason):
                choice.finish_reason = reason

    def answer(self) -> Answer:
        """The whole answer. Raises `EngineFailed` when there was no `Usage`."""
        if self._usage is None:
            raise EngineFailed("The model's answer ended before it was complete.")
        for index, pieces in self._texts.items():
            self._choices[index].text = "".join(pieces)
        choices = self._choices
        return Answer(tuple(choices[index] for index in sorted(choices)), self._usage)


async def gather(deltas: Deltas) -> Answer:
    """The whole answer. Raises `EngineFailed` when the deltas end before their `Usage`."""
    gathering = Gathering()
    async for delta in deltas:
        gathering.add(delta)
    return gathering.answer()


def gathered(deltas: Iterable[Delta]) -> Answer:
    """As `gather`, of deltas that are there already."""
    gathering = Gathering()
    for delta in deltas:
        gathering.add(delta)
    return gathering.answer()
