"""Streams of the OpenAI family: chunks, and a usage chunk when it was asked for."""

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
from zaffre.core.ids import new_letters
from zaffre.core.safety import ScreenReport
from zaffre.server.dialects.common import framed
from zaffre.server.dialects.filter_results import annotate_choices, filter_results, prompt_results
from zaffre.translation.answers import write_logprobs, write_text_chunk, write_usage
from zaffre.translation.chat_requests import write_call
from zaffre.wire import codec, sse
from zaffre.wire.chat import AnswerDelta, ChatChunk, ChunkChoice, LogprobsBody
from zaffre.wire.templates import MARK, FrameTemplate
from zaffre.wire.usage import UsageBody


def new_id(prefix: str) -> str:
    """An id as OpenAI makes them: `prefix` and 29 letters and digits."""
    return prefix + new_letters(29)


class StreamHead(Struct, frozen=True):
    """What all chunks share."""

    id: str
    created: int
    """Unix seconds."""
    model: str
    include_usage: bool
    """Asked for by `stream_options`: null on every chunk, and a last chunk that has it."""
    report: ScreenReport | None = None
    """What content safety finds, for a dialect that shows it."""


class OpenAIChatStream:
    """Writes one chat stream."""

    def __init__(self, head: StreamHead) -> None:
        self._head = head
        self._begun = False
        self._calls: dict[int, int] = {}
        """Tool calls per choice that has begun."""
        self._texts: dict[int, FrameTemplate] = {}

    def frames(self, delta: Delta) -> list[bytes]:
        """The frames that `delta` causes."""
        if isinstance(delta, TextDelta) and delta.index in self._calls:  # nearly always
            return [self._text(delta.text, delta.index, delta.logprobs)]
        frames: list[bytes] = []
        report = self._head.report
        if not self._begun and report is not None and report.prompts:
            frames.append(_prompt_frame(report))
        self._begun = True
        if isinstance(delta, Usage):
            if self._head.include_usage:
                frames.append(self._frame([], usage=write_usage(delta)))
            return frames
        role: str | UnsetType = UNSET
        if delta.index not in self._calls:
            self._calls[delta.index] = 0
            if isinstance(delta, ToolCallDelta):
                role = "assistant"  # the call itself is the first chunk
            else:
                first = AnswerDelta(role="assistant", content="")
                frames.append(self._choice(delta.index, first))
        match delta:
            case TextDelta(text=text, index=index, logprobs=logprobs):
                frames.append(self._text(text, index, logprobs))
            case ReasoningDelta(text=text, index=index):
                frames.append(self._choice(index, AnswerDelta(reasoning_content=text)))
            case ToolCallDelta(call=call, index=index):
                body = write_call(call, self._calls[index])
                self._calls[index] += 1
                frames.append(self._choice(index, AnswerDelta(role=role, tool_calls=[body])))
            case Finish(reason=reason, index=index):
                frames.append(self._finish(reason, index))
        return frames

    def _text(self, text: str, index: int, logprobs: tuple[TokenLogprob, ...]) -> bytes:
        if logprobs:
            shown = write_logprobs(logprobs)
            return self._choice(index, AnswerDelta(content=text), logprobs=shown)
        template = self._texts.get(index)
        if template is None:
            template = FrameTemplate(self._choice(index, AnswerDelta(content=MARK)))
            self._texts[index] = template
        return template.filled(text)

    def _choice(
        self,
        index: int,
        delta: AnswerDelta,
        *,
        logprobs: LogprobsBody | UnsetType = UNSET,
    ) -> bytes:
        return self._frame([ChunkChoice(index, delta, None, logprobs)])

    def _finish(self, reason: str, index: int) -> bytes:
        choice = ChunkChoice(index, AnswerDelta(), reason)
        report = self._head.report
        if report is not None and index in report.choices:
            choice.content_filter_results = filter_results(report.choices[index])
        return self._frame([choice])

    def _frame(self, choices: list[ChunkChoice], usage: UsageBody | None = None) -> bytes:
        head = self._head
        chunk = ChatChunk(
            id=head.id,
            object="chat.completion.chunk",
            created=head.created,
            model=head.model,
            choices=choices,
            usage=usage if head.include_usage else UNSET,
        )
        return sse.frame(codec.encode(chunk))


def chat_frames(batches: Batches, head: StreamHead) -> AsyncGenerator[bytes, None]:
    """The frames of a chat stream; see `framed`."""
    return framed(batches, OpenAIChatStream(head).frames)


def text_frames(batches: Batches, head: StreamHead) -> AsyncGenerator[bytes, None]:
    """The frames of a text completion stream; see `framed`."""
    return framed(batches, _TextStream(head).frames)


class _TextStream:
    """Writes one stream of a text completion."""

    def __init__(self, head: StreamHead) -> None:
        self._head = head
        self._offsets: dict[int, int] = {}
        self._told = False

    def frames(self, delta: Delta) -> list[bytes]:
        """The frames that `delta` causes."""
        head = self._head
        if isinstance(delta, Usage) and not head.include_usage:
            return []
        offset = 0 if isinstance(delta, Usage) else self._offsets.get(delta.index, 0)
        chunk = write_text_chunk(delta, offset)
        chunk.id, chunk.created, chunk.model = head.id, head.created, head.model
        if head.include_usage and not isinstance(delta, Usage):
            chunk.usage = None
        if isinstance(delta, TextDelta):
            self._offsets[delta.index] = offset + len(delta.text)
        if head.report is not None and head.report.prompts and not self._told:
            chunk.prompt_filter_results = prompt_results(head.report)
        self._told = True
        if isinstance(delta, Finish) and head.report is not None:
            annotate_choices(chunk, head.report)
        return [sse.frame(codec.encode(chunk))]


def _prompt_frame(report: ScreenReport) -> bytes:
    """The chunk before all others (contract, section 4.4): no choice, no id, no model."""
    chunk = ChatChunk(object="", prompt_filter_results=prompt_results(report))
    return sse.frame(codec.encode(chunk))
