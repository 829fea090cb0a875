"""What becomes of one choice's text on its way out: stop texts, tool calls."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from zaffre.core.calls import ToolCall
from zaffre.core.deltas import Delta, Finish, FinishReason, TextDelta, TokenLogprob, ToolCallDelta
from zaffre.core.errors import EngineFailed
from zaffre.engines.text.text_stream import StopText
from zaffre.engines.text.tool_calls import ToolCallSplitter, read_calls, read_whole_calls


class Choice(Protocol):
    """Takes the text of one choice as it is generated."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted, though the model would go on."""

    def push(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[Delta]:
        """What can be given out now that `text`, of tokens with `logprobs`, has come."""

    def close(self, reason: FinishReason) -> list[Delta]:
        """What is left, and the `Finish`."""


class TextChoice:
    """Text, cut before the first stop text."""

    def __init__(self, index: int, stops: Sequence[str]) -> None:
        self._index = index
        self._stop = StopText(stops)
        self._pushed = 0
        self._given = 0
        self._pending: deque[tuple[int, TokenLogprob]] = deque()

    @property
    def ended(self) -> bool:
        """Whether a stop text was found."""
        return self._stop.hit

    def push(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[Delta]:
        """The text that no stop text can claim, with the log probabilities of its tokens."""
        self._pushed += len(text)
        self._pending.extend((self._pushed, logprob) for logprob in logprobs)
        return self._give(self._stop.push(text))

    def close(self, reason: FinishReason) -> list[Delta]:
        """The text that was held back, and the `Finish`."""
        return [*self._give(self._stop.close()), Finish(reason, self._index)]

    def _give(self, text: str) -> list[Delta]:
        self._given += len(text)
        logprobs = []
        while self._pending and self._pending[0][0] <= self._given:
            logprobs.append(self._pending.popleft()[1])
        return [TextDelta(text, self._index, tuple(logprobs))] if text or logprobs else []


class ToolChoice:
    """Text in which the model may call tools, wherever it likes."""

    def __init__(self, index: int, stops: Sequence[str], splitter: ToolCallSplitter) -> None:
        self._index = index
        self._text = TextChoice(index, stops)
        self._splitter = splitter
        self._pending: list[TokenLogprob] = []

    @property
    def ended(self) -> bool:
        """Whether a stop text or the last wanted call was found."""
        return self._text.ended or self._splitter.full

    def push(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[Delta]:
        """Text that is not part of a call, and whole calls."""
        return self._split(self._text.push(text, logprobs))

    def close(self, reason: FinishReason) -> list[Delta]:
        """What was held back, and the `Finish`, whose reason is the calls if there were any."""
        *held, _ = self._text.close(reason)
        left = [*self._split(held), *self._deltas(self._splitter.close())]
        return [*left, Finish("tool_calls" if self._splitter.found else reason, self._index)]

    def _split(self, deltas: Sequence[Delta]) -> list[Delta]:
        split: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta):
                self._pending.extend(delta.logprobs)
                split.extend(self._deltas(self._splitter.push(delta.text)))
        return split

    def _deltas(self, pieces: Sequence[str | ToolCall]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            # The tokens of a call are no part of the answer's text, and neither are their scores.
            logprobs, self._pending = tuple(self._pending), []
            if isinstance(piece, ToolCall):
                deltas.append(ToolCallDelta(piece, self._index))
            else:
                deltas.append(TextDelta(piece, self._index, logprobs))
        return deltas


class CallChoice:
    """Nothing but tool calls, decoded under their schema. A call in the making is not given out.

    A small model that may make several calls makes the same one until it must stop: the answer ends
    with the first call that is there already.
    """

    def __init__(self, index: int, new_id: Callable[[], str]) -> None:
        self._index, self._new_id = index, new_id
        self._said = ""
        self._made = 0
        """Different calls that are complete."""
        self.ended = False
        """Whether the model has begun to repeat itself; otherwise the schema ends the answer."""

    def push(self, text: str, logprobs: Sequence[TokenLogprob]) -> list[Delta]:
        """Nothing yet."""
        del logprobs  # of tokens that are no part of any text
        self._said += text
        if "}" in text and self._said.lstrip().startswith("["):
            self.ended = self._repeats()
        return []

    def _repeats(self) -> bool:
        """Whether the call that has just become complete was there before."""
        complete = self._said[: self._said.rindex("}") + 1] + "]"
        try:
            made = len(read_calls(complete, self._new_id))
        except EngineFailed:  # the brace closes something inside a call
            return False
        if made > self._made:
            self._made = made
            return False
        self._said = complete
        return True

    def close(self, reason: FinishReason) -> list[Delta]:
        """The whole calls. Raises `EngineFailed` when an answer that was not cut off has none.

        With any call the reason is `tool_calls`, also when the bound cut the next one off: there is
        something to do, and nothing of what is there is missing.
        """
        read = read_calls if reason == "stop" else read_whole_calls
        calls = read(self._said, self._new_id)
        return [
            *(ToolCallDelta(call, self._index) for call in calls),
            Finish("tool_calls" if calls else reason, self._index),
        ]
