"""Answers: the core's deltas and vectors to the internal wire, and any server's back to core.

The internal wire is OpenAI's: chunks with one delta each, a chunk with `finish_reason`, a last
chunk with `choices: []` and the usage, then the end marker.
"""

from msgspec import UNSET, UnsetType

from zaffre.core.answers import Answer, Choice
from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Alternative,
    Delta,
    Embeddings,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed
from zaffre.translation.chat_requests import write_call
from zaffre.wire.chat import (
    AnswerDelta,
    AnswerMessage,
    ChatChunk,
    ChatResponse,
    ChunkChoice,
    LogprobBody,
    LogprobsBody,
    TokenLogprobBody,
    ToolCallBody,
)
from zaffre.wire.chat import Choice as ChoiceBody
from zaffre.wire.completions import CompletionChoice, CompletionLogprobs, CompletionResponse
from zaffre.wire.embeddings import EmbeddingItem, EmbeddingResponse, decode_vector, encode_vector
from zaffre.wire.usage import CompletionDetails, PromptDetails, UsageBody

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def write_usage(usage: Usage, *, completion: bool = True) -> UsageBody:
    """The counts of `usage`; details only where there is something to tell."""
    return UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens if completion else UNSET,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptDetails(usage.cached_tokens) if usage.cached_tokens else UNSET,
        completion_tokens_details=CompletionDetails(usage.reasoning_tokens)
        if usage.reasoning_tokens
        else UNSET,
        estimated=True if usage.estimated else UNSET,
    )


def read_usage(body: UsageBody | UnsetType | None) -> Usage:
    """The counts of `body`; zero where a server does not count."""
    if not isinstance(body, UsageBody):
        return Usage(0, 0)
    prompt, completion = body.prompt_tokens_details, body.completion_tokens_details
    return Usage(
        body.prompt_tokens,
        body.completion_tokens or 0,
        cached_tokens=(prompt.cached_tokens or 0) if isinstance(prompt, PromptDetails) else 0,
        reasoning_tokens=(completion.reasoning_tokens or 0)
        if isinstance(completion, CompletionDetails)
        else 0,
        estimated=body.estimated is True,
    )


def write_logprobs(logprobs: tuple[TokenLogprob, ...] | list[TokenLogprob]) -> LogprobsBody:
    """Log probabilities in the shape of chat."""
    return LogprobsBody(
        [
            TokenLogprobBody(
                token.token,
                token.logprob,
                list(token.content),
                [LogprobBody(a.token, a.logprob, list(a.content)) for a in token.alternatives],
            )
            for token in logprobs
        ]
    )


def _read_logprobs(body: LogprobsBody | UnsetType | None) -> tuple[TokenLogprob, ...]:
    if not isinstance(body, LogprobsBody):
        return ()
    return tuple(
        TokenLogprob(
            token.token,
            token.logprob,
            _token_bytes(token),
            tuple(Alternative(a.token, a.logprob, _token_bytes(a)) for a in token.top_logprobs),
        )
        for token in body.content or ()
    )


def _token_bytes(token: TokenLogprobBody | LogprobBody) -> bytes:
    return bytes(token.bytes) if token.bytes is not None else token.token.encode()


def write_chat_chunk(delta: Delta, tool_index: int = 0) -> ChatChunk:
    """The internal chunk for `delta`. `tool_index` counts the tool calls of a choice."""
    match delta:
        case TextDelta(text=text, index=index, logprobs=logprobs):
            shown = write_logprobs(logprobs) if logprobs else UNSET
            return _chunk(index, AnswerDelta(content=text), logprobs=shown)
        case ReasoningDelta(text=text, index=index):
            return _chunk(index, AnswerDelta(reasoning_content=text))
        case ToolCallDelta(call=call, index=index):
            return _chunk(index, AnswerDelta(tool_calls=[write_call(call, tool_index)]))
        case Finish(reason=reason, index=index):
            return _chunk(index, AnswerDelta(), finish_reason=reason)
        case Usage():
            return ChatChunk(usage=write_usage(delta))


def _chunk(
    index: int,
    delta: AnswerDelta,
    *,
    finish_reason: str | None = None,
    logprobs: LogprobsBody | UnsetType = UNSET,
) -> ChatChunk:
    return ChatChunk(choices=[ChunkChoice(index, delta, finish_reason, logprobs)])


class ChatChunkReader:
    """Turns the chunks of any OpenAI-compatible server into deltas.

    Tool calls that come in fragments are put together and leave whole, before their choice's
    `Finish`. The `Usage` comes from `close`, after the end marker.
    """

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], ToolCallBody] = {}
        self._finished: set[int] = set()
        self._usage = Usage(0, 0)

    def read(self, chunk: ChatChunk) -> list[Delta]:
        """The deltas in `chunk`."""
        if isinstance(chunk.usage, UsageBody):
            self._usage = read_usage(chunk.usage)
        deltas: list[Delta] = []
        for choice in chunk.choices:
            self._read_choice(choice, deltas)
        return deltas

    def close(self) -> Usage:
        """The usage, when the stream has ended whole. Raises `EngineFailed` when it has not."""
        if not self._finished:
            raise EngineFailed("The model's answer ended before it was complete.")
        return self._usage

    def _read_choice(self, choice: ChunkChoice, deltas: list[Delta]) -> None:
        index, delta = choice.index, choice.delta
        if isinstance(delta.reasoning_content, str) and delta.reasoning_content:
            deltas.append(ReasoningDelta(delta.reasoning_content, index))
        logprobs = _read_logprobs(choice.logprobs)
        if isinstance(delta.content, str) and (delta.content or logprobs):
            deltas.append(TextDelta(delta.content, index, logprobs))
        if isinstance(delta.tool_calls, list):
            for position, fragment in enumerate(delta.tool_calls):
                self._add_fragment(index, position, fragment)
        if isinstance(choice.finish_reason, str) and index not in self._finished:
            for (owner, _), call in sorted(self._calls.items(), key=lambda item: item[0]):
                if owner == index:
                    deltas.append(ToolCallDelta(_read_whole_call(call), index))
            self._finished.add(index)
            deltas.append(Finish(_REASONS.get(choice.finish_reason, "stop"), index))

    def _add_fragment(self, index: int, position: int, fragment: ToolCallBody) -> None:
        number = fragment.index if fragment.index is not None else position
        whole = self._calls.setdefault((index, number), ToolCallBody(number))
        whole.id = whole.id or fragment.id
        if fragment.function is None:
            return
        if whole.function is None:
            whole.function = fragment.function
            return
        whole.function.name = whole.function.name or fragment.function.name
        old, new = whole.function.arguments, fragment.function.arguments
        whole.function.arguments = f"{old or ''}{new or ''}"


def _read_whole_call(call: ToolCallBody) -> ToolCall:
    function = call.function
    name = function.name if function and function.name else ""
    arguments = function.arguments if function and isinstance(function.arguments, str) else ""
    return ToolCall(call.id or f"call_{call.index}", name, arguments or "{}")


def write_chat_answer(answer: Answer) -> ChatResponse:
    """The internal form of a whole chat answer."""
    return ChatResponse(
        choices=[write_chat_choice(choice) for choice in answer.choices],
        usage=write_usage(answer.usage),
    )


def write_chat_choice(choice: Choice) -> ChoiceBody:
    """One choice. Content is null beside tool calls, unless the model said something too."""
    calls = [write_call(call) for call in choice.tool_calls]
    return ChoiceBody(
        choice.index,
        AnswerMessage(
            content=None if calls and not choice.text else choice.text,
            tool_calls=calls or UNSET,
            reasoning_content=choice.reasoning or UNSET,
        ),
        choice.finish_reason,
        write_logprobs(choice.logprobs) if choice.logprobs else UNSET,
    )


def read_chat_answer(response: ChatResponse) -> list[Delta]:
    """The deltas of a whole answer: one per kind and choice."""
    if not response.choices:
        raise EngineFailed("The model answered without a choice.")
    deltas: list[Delta] = []
    for choice in response.choices:
        message, index = choice.message, choice.index
        if isinstance(message.reasoning_content, str) and message.reasoning_content:
            deltas.append(ReasoningDelta(message.reasoning_content, index))
        logprobs = _read_logprobs(choice.logprobs)
        if message.content or logprobs:
            deltas.append(TextDelta(message.content or "", index, logprobs))
        if isinstance(message.tool_calls, list):
            for position, call in enumerate(message.tool_calls):
                call.index = position
                deltas.append(ToolCallDelta(_read_whole_call(call), index))
        deltas.append(Finish(_REASONS.get(choice.finish_reason or "stop", "stop"), index))
    deltas.append(read_usage(response.usage))
    return deltas


def write_text_chunk(delta: Delta, offset: int = 0) -> CompletionResponse:
    """The completion chunk for `delta`. `offset`: characters of the choice sent before."""
    match delta:
        case TextDelta(text=text, index=index, logprobs=logprobs):
            shown = write_text_logprobs(logprobs, offset) if logprobs else UNSET
            return CompletionResponse(choices=[CompletionChoice(index, text, logprobs=shown)])
        case Finish(reason=reason, index=index):
            return CompletionResponse(choices=[CompletionChoice(index, "", reason)])
        case Usage():
            return CompletionResponse(usage=write_usage(delta))
        case ReasoningDelta() | ToolCallDelta():
            raise EngineFailed("A text completion cannot reason aloud or call tools.")


def write_text_logprobs(
    logprobs: tuple[TokenLogprob, ...] | list[TokenLogprob], offset: int = 0
) -> CompletionLogprobs:
    """Log probabilities in the columns of text completions."""
    columns = CompletionLogprobs()
    tops: list[dict[str, float] | None] = []
    for token in logprobs:
        columns.tokens.append(token.token)
        columns.token_logprobs.append(token.logprob)
        tops.append({a.token: a.logprob for a in token.alternatives} or None)
        columns.text_offset.append(offset)
        offset += len(token.token)
    columns.top_logprobs = tops if any(tops) else None
    return columns


def _read_text_logprobs(body: CompletionLogprobs | UnsetType | None) -> tuple[TokenLogprob, ...]:
    if not isinstance(body, CompletionLogprobs):
        return ()
    tops = body.top_logprobs or [None] * len(body.tokens)
    return tuple(
        TokenLogprob(
            token,
            logprob or 0.0,
            token.encode(),
            tuple(Alternative(t, p, t.encode()) for t, p in (top or {}).items()),
        )
        for token, logprob, top in zip(body.tokens, body.token_logprobs, tops, strict=False)
    )


class TextChunkReader:
    """Turns the completion chunks of any OpenAI-compatible server into deltas."""

    def __init__(self) -> None:
        self._finished: set[int] = set()
        self._usage = Usage(0, 0)

    def read(self, chunk: CompletionResponse) -> list[Delta]:
        """The deltas in `chunk`."""
        if isinstance(chunk.usage, UsageBody):
            self._usage = read_usage(chunk.usage)
        deltas: list[Delta] = []
        for choice in chunk.choices:
            logprobs = _read_text_logprobs(choice.logprobs)
            if choice.text or logprobs:
                deltas.append(TextDelta(choice.text, choice.index, logprobs))
            if choice.finish_reason and choice.index not in self._finished:
                self._finished.add(choice.index)
                reason = _REASONS.get(choice.finish_reason, "stop")
                deltas.append(Finish(reason, choice.index))
        return deltas

    def close(self) -> Usage:
        """The usage, when the stream has ended whole. Raises `EngineFailed` when it has not."""
        if not self._finished:
            raise EngineFailed("The model's answer ended before it was complete.")
        return self._usage


def write_text_answer(answer: Answer) -> CompletionResponse:
    """A whole text completion."""
    return CompletionResponse(
        choices=[
            CompletionChoice(
                choice.index,
                choice.text,
                choice.finish_reason,
                write_text_logprobs(choice.logprobs) if choice.logprobs else UNSET,
            )
            for choice in answer.choices
        ],
        usage=write_usage(answer.usage),
    )


def read_text_answer(response: CompletionResponse) -> list[Delta]:
    """The deltas of a whole text completion."""
    reader = TextChunkReader()
    return [*reader.read(response), reader.close()]


def write_embeddings(embeddings: Embeddings, encoding: str = "base64") -> EmbeddingResponse:
    """Vectors on the wire, in one of `zaffre.wire.embeddings.ENCODINGS`."""
    return EmbeddingResponse(
        data=[
            EmbeddingItem(i, encode_vector(vector, encoding))
            for i, vector in enumerate(embeddings.vectors)
        ],
        usage=write_usage(embeddings.usage, completion=False),
    )


def read_embeddings(response: EmbeddingResponse, expected: int) -> Embeddings:
    """Vectors from the wire. Raises `EngineFailed` unless there are `expected` whole ones."""
    if len(response.data) != expected:
        raise EngineFailed(f"{len(response.data)} vectors came back for {expected} inputs.")
    items = sorted(response.data, key=lambda item: item.index)
    try:
        vectors = tuple(decode_vector(item.embedding) for item in items)
    except ValueError:
        raise EngineFailed("A vector came back that is not base64.") from None
    if len({len(vector) for vector in vectors}) > 1 or any(len(v) % 4 for v in vectors):
        raise EngineFailed("A vector came back that is not whole.")
    return Embeddings(vectors, read_usage(response.usage))
