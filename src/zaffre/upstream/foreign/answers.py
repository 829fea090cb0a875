"""Answers of other people's servers, made regular: their JSON to our internal wire, then to core.

What is made regular here: names of reasoning fields, content in parts, fragments and numbers of
tool calls, finish reasons, choices that were not asked for or never ended, counts that are missing.
"""

import logging
from typing import Any

from msgspec import UNSET, UnsetType

from zaffre.core.calls import Call, ChatCall, CompletionCall, EmbedCall, ImageEmbedCall
from zaffre.core.deltas import Delta, Embeddings, TextDelta, Usage
from zaffre.core.errors import EngineFailed
from zaffre.translation.answers import ChatChunkReader, TextChunkReader, read_embeddings
from zaffre.upstream.foreign.credential import Credential
from zaffre.upstream.foreign.errors import read_stream_error
from zaffre.upstream.foreign.estimates import prompt_tokens, size_bytes, tokens_of
from zaffre.upstream.foreign.tool_calls import CallCollector
from zaffre.upstream.foreign.wire import (
    ForeignChat,
    ForeignChatChoice,
    ForeignMessage,
    ForeignPart,
    ForeignText,
    ForeignTextChoice,
    ForeignUsage,
    ForeignVectors,
)
from zaffre.upstream.transport import decode
from zaffre.wire.chat import AnswerDelta, ChatChunk, ChunkChoice
from zaffre.wire.completions import CompletionChoice, CompletionResponse
from zaffre.wire.embeddings import EmbeddingItem, EmbeddingResponse

_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "token_limit": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "refusal": "content_filter",
}
_BROKEN_OFF = frozenset(("error", "abort", "aborted", "cancelled", "insufficient_system_resource"))
"""Reasons that say the answer is not whole."""
CUT = "The model's answer ended before it was complete."
log = logging.getLogger("zaffre.upstream")


class ChatReader:
    """Reads one answer to a chat call: its events, or the one body that holds it whole."""

    def __init__(self, call: ChatCall, credential: Credential | None) -> None:
        self._call = call
        self._credential = credential
        self._choices = _Choices(call.sampling.n)
        self._counts = _Counts(call)
        self._calls = CallCollector()
        self._reader = ChatChunkReader()

    def read(self, payload: bytes) -> list[Delta]:
        """The deltas of one event. Raises `ZaffreError` for one that is broken, or an error."""
        chat = decode(payload, ForeignChat)
        choices = chat.choices or ()
        told = chat.usage is not None or chat.error is not None or chat.object == "error"
        if len(choices) == 1 and not told:  # nearly always
            return self._read_choice(choices[0], choices[0].delta)
        _check_error(chat, payload, self._credential)
        self._counts.note(chat.usage)
        return [delta for each in choices for delta in self._read_choice(each, each.delta)]

    def read_whole(self, content: bytes) -> list[Delta]:
        """The deltas of a whole answer, its usage last."""
        chat = decode(content, ForeignChat)
        _check_error(chat, content, self._credential)
        self._counts.note(chat.usage)
        deltas: list[Delta] = []
        for choice in chat.choices or ():
            # The JSON has come to its end, and so has the choice, whether it says so or not.
            choice.finish_reason = choice.finish_reason or "stop"
            deltas += self._read_choice(choice, choice.message)
        return [*deltas, self.close()]

    def close(self) -> Usage:
        """The usage. Raises `EngineFailed` unless every choice has come to its end."""
        self._choices.check_whole()
        return self._counts.usage()

    def _read_choice(
        self, choice: ForeignChatChoice, message: ForeignMessage | None
    ) -> list[Delta]:
        index = self._choices.number(choice.index)
        if plain := _plain_text(choice, message):  # nearly all of them
            self._choices.spoke(index, said=True)
            self._counts.add(size_bytes(plain))
            return [TextDelta(plain, index)]
        regular = AnswerDelta()
        if message is not None:
            thoughts, text = _texts(message)
            regular.reasoning_content, regular.content = thoughts or UNSET, text or UNSET
            if choice.logprobs is not None and not text:
                regular.content = ""
            fragments = message.tool_calls or ()
            added = self._calls.add(index, fragments) if fragments else 0
            self._choices.spoke(index, bool(thoughts or text or fragments))
            self._counts.add(size_bytes(thoughts) + size_bytes(text) + added)
        reason: str | UnsetType = UNSET
        if choice.finish_reason:
            regular.tool_calls = self._calls.whole(index) or UNSET
            called = isinstance(regular.tool_calls, list)
            reason = _reason(choice.finish_reason, called=called)
            if not self._choices.end(index):
                return []
        chunk = ChunkChoice(index, regular, reason, choice.logprobs or UNSET)
        return self._reader.read(ChatChunk(choices=[chunk]))


class TextReader:
    """Reads one answer to a completion call; see `ChatReader`."""

    def __init__(self, call: CompletionCall, credential: Credential | None) -> None:
        self._credential = credential
        self._choices = _Choices(len(call.prompts) * call.sampling.n)
        self._counts = _Counts(call)
        self._reader = TextChunkReader()

    def read(self, payload: bytes) -> list[Delta]:
        """The deltas of one event; see `ChatReader.read`."""
        text = decode(payload, ForeignText)
        _check_error(text, payload, self._credential)
        self._counts.note(text.usage)
        deltas: list[Delta] = []
        for choice in text.choices or ():
            deltas += self._read_choice(choice)
        return deltas

    def read_whole(self, content: bytes) -> list[Delta]:
        """The deltas of a whole answer, its usage last."""
        text = decode(content, ForeignText)
        _check_error(text, content, self._credential)
        self._counts.note(text.usage)
        deltas: list[Delta] = []
        for choice in text.choices or ():
            choice.finish_reason = choice.finish_reason or "stop"
            deltas += self._read_choice(choice)
        return [*deltas, self.close()]

    def close(self) -> Usage:
        """The usage. Raises `EngineFailed` unless every choice has come to its end."""
        self._choices.check_whole()
        return self._counts.usage()

    def _read_choice(self, choice: ForeignTextChoice) -> list[Delta]:
        index, text = self._choices.number(choice.index), choice.text or ""
        self._choices.spoke(index, bool(text))
        self._counts.add(size_bytes(text))
        reason = _reason(choice.finish_reason) if choice.finish_reason else None
        if reason is not None and not self._choices.end(index):
            return []
        regular = CompletionChoice(index, text, reason, choice.logprobs or UNSET)
        return self._reader.read(CompletionResponse(choices=[regular]))


def read_vectors(
    content: bytes, call: EmbedCall | ImageEmbedCall, credential: Credential | None
) -> Embeddings:
    """The vectors of `content`, in input order. Raises `EngineFailed` unless there are all."""
    body = decode(content, ForeignVectors)
    _check_error(body, content, credential)
    rows = body.data or []
    items = [
        EmbeddingItem(i if row.index is None else row.index, [*row.embedding])
        if isinstance(row.embedding, list)
        else EmbeddingItem(i if row.index is None else row.index, row.embedding)
        for i, row in enumerate(rows)
    ]
    if sorted(item.index for item in items) != list(range(len(items))):
        raise EngineFailed("The model's server numbered its vectors in a way of its own.")
    expected = len(call.texts) if isinstance(call, EmbedCall) else len(call.inputs)
    vectors = read_embeddings(EmbeddingResponse(data=items), expected).vectors
    counts = _Counts(call)
    counts.note(body.usage)
    return Embeddings(vectors, counts.usage())


class _Choices:
    """Which choices were asked for, and which have ended."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._ended: set[int] = set()

    def number(self, index: int | None) -> int:
        """The number of a choice. Raises `EngineFailed` for one that nobody asked for."""
        number = index or 0
        if not 0 <= number < self._expected:
            raise EngineFailed("The model's server sent more answers than it was asked for.")
        return number

    def spoke(self, index: int, said: bool) -> None:
        """Raises `EngineFailed` for a choice that goes on after its end."""
        if said and index in self._ended:
            raise EngineFailed("The model's server went on after the end of its answer.")

    def end(self, index: int) -> bool:
        """Note an end; whether it is the first."""
        first = index not in self._ended
        self._ended.add(index)
        return first

    def check_whole(self) -> None:
        """Raises `EngineFailed` unless all have ended."""
        if len(self._ended) != self._expected:
            raise EngineFailed(CUT)


class _Counts:
    """What an answer cost: as its server says, else estimated."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._told: ForeignUsage | None = None
        self._size_bytes = 0

    def note(self, told: ForeignUsage | None) -> None:
        """What the server says; its last word counts, and zeros are not a word."""
        if told is not None and (told.prompt_tokens or told.total_tokens):
            self._told = told

    def add(self, more_bytes: int) -> None:
        """So much more was said, in UTF-8."""
        self._size_bytes += more_bytes

    def usage(self) -> Usage:
        """The counts, marked where they are an estimate."""
        told = self._told
        if told is None:
            return Usage(prompt_tokens(self._call), tokens_of(self._size_bytes), estimated=True)
        completion = told.completion_tokens or 0
        prompt = told.prompt_tokens or max(0, (told.total_tokens or 0) - completion)
        return Usage(
            prompt,
            completion,
            cached_tokens=_detail(told.prompt_tokens_details, "cached_tokens"),
            reasoning_tokens=_detail(told.completion_tokens_details, "reasoning_tokens"),
            estimated=bool(told.estimated),
        )


def _detail(details: dict[str, Any] | None, name: str) -> int:
    value = (details or {}).get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _check_error(
    body: ForeignChat | ForeignText | ForeignVectors,
    payload: bytes,
    credential: Credential | None,
) -> None:
    if body.error is not None or body.object == "error":
        raise read_stream_error(payload, credential)


def _plain_text(choice: ForeignChatChoice, message: ForeignMessage | None) -> str:
    """The text of a chunk that has nothing besides; empty when it has."""
    if message is None or choice.finish_reason or choice.logprobs is not None:
        return ""
    if message.reasoning_content or message.reasoning or message.tool_calls or message.refusal:
        return ""
    return message.content if isinstance(message.content, str) else ""


def _texts(message: ForeignMessage) -> tuple[str, str]:
    """What was thought, and what was said."""
    thoughts = message.reasoning_content or ""
    if not thoughts and isinstance(message.reasoning, str):
        thoughts = message.reasoning
    if isinstance(message.content, list):
        for part in message.content:
            thoughts += _thought(part)
        text = "".join(part.text or "" for part in message.content if part.type == "text")
    else:
        text = message.content or ""
    return thoughts, text + (message.refusal or "")


def _thought(part: ForeignPart) -> str:
    if isinstance(part.thinking, list):
        return "".join(inner.text or "" for inner in part.thinking)
    return part.thinking or ""


def _reason(theirs: str, *, called: bool = False) -> str:
    """Our word for why a choice ended. Raises `EngineFailed` when it did not really."""
    word = theirs.lower()
    if word in _BROKEN_OFF:
        raise EngineFailed("The model's server broke its answer off.")
    if word not in _REASONS:
        log.warning(
            "An upstream ended an answer for an unknown reason, %.64r; taken as stop.", word
        )
    ours = _REASONS.get(word, "stop")
    # OpenAI itself says stop after a call that the client had demanded by name.
    return "tool_calls" if called and ours == "stop" else ours
