"""Answers: what the deltas of one generation add up to."""

from msgspec import Struct

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
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


async def gather(deltas: Deltas) -> Answer:
    """The whole answer. Raises `EngineFailed` when the deltas end before their `Usage`."""
    choices: dict[int, Choice] = {}
    texts: dict[int, list[str]] = {}
    usage: Usage | None = None
    async for delta in deltas:
        if isinstance(delta, Usage):
            usage = delta
            continue
        choice = choices.setdefault(delta.index, Choice(delta.index))
        match delta:
            case TextDelta(text=text, logprobs=logprobs):
                texts.setdefault(delta.index, []).append(text)
                choice.logprobs.extend(logprobs)
            case ReasoningDelta(text=text):
                choice.reasoning += text
            case ToolCallDelta(call=call):
                choice.tool_calls.append(call)
            case Finish(reason=reason):
                choice.finish_reason = reason
    if usage is None:
        raise EngineFailed("The model's answer ended before it was complete.")
    for index, pieces in texts.items():
        choices[index].text = "".join(pieces)
    return Answer(tuple(choices[index] for index in sorted(choices)), usage)
