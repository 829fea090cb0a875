"""Streams of the Azure AI Model Inference dialect: the safest frames of contract section 4.4."""

from collections.abc import AsyncGenerator

from msgspec import UNSET, Struct, UnsetType

from zaffre.core.deltas import (
    Batches,
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.server.dialects.common import framed
from zaffre.translation.answers import write_logprobs, write_text_chunk, write_usage
from zaffre.translation.chat_requests import write_call
from zaffre.wire import codec, sse
from zaffre.wire.chat import AnswerDelta, ChatChunk, ChunkChoice, LogprobsBody
from zaffre.wire.templates import MARK, FrameTemplate
from zaffre.wire.usage import UsageBody


class AnswerHead(Struct, frozen=True):
    """What all chunks of an answer share."""

    id: str
    created: int
    """Unix seconds."""
    model: str


class _Choice(Struct):
    tool_calls: int = 0
    thinking: bool = False
    spoke: bool = False


class ChatStream:
    """Writes one stream: role first, whole tool calls, finish reason and usage on the last chunk.

    `thoughts_apart`: reasoning has its own field (api-version 2025-04-01 on), else it stands
    between think tags in the content.
    """

    def __init__(self, head: AnswerHead, *, thoughts_apart: bool) -> None:
        self._head = head
        self._thoughts_apart = thoughts_apart
        self._choices: dict[int, _Choice] = {}
        self._texts: dict[int, FrameTemplate] = {}
        self._held: Finish | None = None

    def frames(self, delta: Delta) -> list[bytes]:
        """The frames that `delta` causes; the last `Finish` waits for the `Usage`."""
        if isinstance(delta, Usage):
            return self._finish(write_usage(delta))
        choice = self._choices.get(delta.index)
        if choice is None:
            choice = self._choices[delta.index] = _Choice()
            if isinstance(delta, ToolCallDelta):
                return [self._call(delta, choice, role="assistant")]
            return [
                self._frame(delta.index, AnswerDelta(role="assistant", content="")),
                *self._continue(delta, choice),
            ]
        return self._continue(delta, choice)

    def _continue(self, delta: Delta, choice: _Choice) -> list[bytes]:
        match delta:
            case TextDelta(text=text, index=index, logprobs=logprobs):
                choice.spoke = True
                if choice.thinking:
                    choice.thinking, text = False, f"</think>{text}"
                return [self._text(text, index, logprobs)]
            case ReasoningDelta(text=text, index=index) if self._thoughts_apart:
                return [self._frame(index, AnswerDelta(content="", reasoning_content=text))]
            case ReasoningDelta(text=text, index=index):
                opening = "" if choice.thinking else "<think>"
                choice.thinking = True
                return [self._frame(index, AnswerDelta(content=f"{opening}{text}"))]
            case ToolCallDelta(index=index):
                closing = [self._frame(index, AnswerDelta(content="</think>"))]
                thought, choice.thinking = choice.thinking, False
                return [*(closing if thought else []), self._call(delta, choice)]
            case Finish():
                frames = self._finish(UNSET)
                self._held = delta
                return frames
            case Usage():
                return []

    def _text(self, text: str, index: int, logprobs: tuple[TokenLogprob, ...]) -> bytes:
        if logprobs:
            shown = write_logprobs(logprobs)
            return self._frame(index, AnswerDelta(content=text), logprobs=shown)
        template = self._texts.get(index)
        if template is None:
            template = FrameTemplate(self._frame(index, AnswerDelta(content=MARK)))
            self._texts[index] = template
        return template.filled(text)

    def _call(self, delta: ToolCallDelta, choice: _Choice, role: str | UnsetType = UNSET) -> bytes:
        body = write_call(delta.call, choice.tool_calls)
        choice.tool_calls += 1
        return self._frame(delta.index, AnswerDelta(role=role, tool_calls=[body]))

    def _finish(self, usage: UsageBody | UnsetType) -> list[bytes]:
        held, self._held = self._held, None
        if held is None:
            return []
        choice = self._choices[held.index]
        # A stream of tool calls has no content at all (contract, section 17 row 1).
        silent = choice.tool_calls and not choice.spoke
        content = UNSET if silent else "</think>" if choice.thinking else ""
        last = AnswerDelta(content=content)
        return [self._frame(held.index, last, finish_reason=held.reason, usage=usage)]

    def _frame(
        self,
        index: int,
        delta: AnswerDelta,
        *,
        finish_reason: str | None = None,
        logprobs: LogprobsBody | UnsetType = UNSET,
        usage: UsageBody | UnsetType = UNSET,
    ) -> bytes:
        chunk = ChatChunk(
            id=self._head.id,
            object="chat.completion.chunk",
            created=self._head.created,
            model=self._head.model,
            choices=[ChunkChoice(index, delta, finish_reason, logprobs)],
            usage=usage,
        )
        return sse.frame(codec.encode(chunk))


def chat_frames(
    batches: Batches, head: AnswerHead, *, thoughts_apart: bool
) -> AsyncGenerator[bytes, None]:
    """The frames of a chat stream; see `framed`."""
    return framed(batches, ChatStream(head, thoughts_apart=thoughts_apart).frames)


def text_frames(batches: Batches, head: AnswerHead) -> AsyncGenerator[bytes, None]:
    """The frames of a text completion stream, whose last chunk has finish reason and usage."""
    return framed(batches, _TextStream(head).frames)


class _TextStream:
    """Writes one stream of a text completion."""

    def __init__(self, head: AnswerHead) -> None:
        self._head = head
        self._offsets: dict[int, int] = {}
        self._held: Finish | None = None

    def frames(self, delta: Delta) -> list[bytes]:
        """The frames that `delta` causes; the last `Finish` waits for the `Usage`."""
        held, self._held = self._held, None
        if isinstance(delta, Usage):
            return [] if held is None else [_text_frame(held, self._head, 0, write_usage(delta))]
        frames = [] if held is None else [_text_frame(held, self._head, 0)]
        if isinstance(delta, Finish):
            self._held = delta
            return frames
        offset = self._offsets.get(delta.index, 0)
        frames.append(_text_frame(delta, self._head, offset))
        if isinstance(delta, TextDelta):
            self._offsets[delta.index] = offset + len(delta.text)
        return frames


def _text_frame(
    delta: Delta, head: AnswerHead, offset: int, usage: UsageBody | UnsetType = UNSET
) -> bytes:
    chunk = write_text_chunk(delta, offset)
    chunk.id, chunk.created, chunk.model, chunk.usage = head.id, head.created, head.model, usage
    return sse.frame(codec.encode(chunk))
