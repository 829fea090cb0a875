"""The `echo` engine: a test double for every operation. It runs no model and says what it was told.

Deterministic, so that contract tests can name every byte. A word is a token. Commands in the last
user message (or prompt) steer it: `/fail`, `/crash`, `/hang`, `/fail-after N`,
`/crash-after N` (words), `/slow MS` (per word).
"""

import asyncio
import hashlib
import json
import math
import os
import struct

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    CompletionCall,
    EmbedCall,
    ImageEmbedCall,
    JsonSchema,
    Message,
    NamedTool,
    Sampling,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.capabilities import ANY, GENERATION_PARAMETERS, Capabilities, Range
from zaffre.core.deltas import (
    Deltas,
    Embeddings,
    Finish,
    FinishReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import EngineFailed, PromptTooLong

DIMENSIONS = 8
CONTEXT_LENGTH = 4096
DEFAULT_MAX_TOKENS = 1024


class EchoEngine:
    """Answers with the words it was given."""

    def __init__(self, spec: EngineSpec) -> None:
        self._card = spec.card
        self._options = spec.options
        self._active = 0

    async def start(self) -> Capabilities:
        """Nothing to load."""
        for name in self._options:
            raise EngineFailed(f"The echo engine has no option '{name}'; it has none at all.")
        return Capabilities(
            model=self._card.name,
            engine="echo",
            provider=self._card.provider,
            operations=frozenset(self._card.operations),
            parameters=GENERATION_PARAMETERS
            | {"n": Range(1, 8), "top_k": Range(1), "parallel_tool_calls": ANY, "echo": ANY},
            content_parts=frozenset({"text"}),
            formats=frozenset({"text", "json_object", "json_schema"}),
            tool_choices=frozenset({"auto", "required", "named"}),
            context_length=CONTEXT_LENGTH,
            dimensions=DIMENSIONS,
            reducible_dimensions=self._card.reducible_dimensions,
            image_captions=True,
        )

    def health(self) -> Health:
        """How many calls are being answered."""
        return Health(active=self._active)

    async def aclose(self) -> None:
        """Nothing to free."""

    async def chat(self, call: ChatCall) -> Deltas:
        """Say the last user message again; call the tool, or fill the schema, when asked to."""
        prompt = " ".join(_text_of(message) for message in call.messages)
        users = [message for message in call.messages if isinstance(message, UserMessage)]
        said = _text_of(users[-1]) if users else ""
        tool = _chosen_tool(call)
        if tool is not None:
            for choice in range(call.sampling.n):
                arguments = json.dumps({"text": said}, separators=(",", ":"), ensure_ascii=False)
                name_hash = hashlib.sha256(said.encode()).hexdigest()[:24]
                yield ToolCallDelta(ToolCall(f"call_{name_hash}", tool, arguments), choice)
                yield Finish("tool_calls", choice)
            yield Usage(_count(prompt), call.sampling.n)
            return
        answer = said if call.format == "text" else _json_answer(call.format)
        async for delta in self._say([(answer, prompt)], call.sampling):
            yield delta

    async def complete(self, call: CompletionCall) -> Deltas:
        """Say every prompt again."""
        texts = [p if isinstance(p, str) else " ".join(map(str, p)) for p in call.prompts]
        said = [(f"{text}{text}" if call.echo else text, text) for text in texts]
        async for delta in self._say(said, call.sampling):
            yield delta

    async def _say(self, said: list[tuple[str, str]], sampling: Sampling) -> Deltas:
        self._active += 1
        try:
            prompt_tokens = sum(_count(prompt) for _, prompt in said)
            if prompt_tokens > CONTEXT_LENGTH:
                raise PromptTooLong(prompt_tokens, CONTEXT_LENGTH)
            completion_tokens = 0
            for position, (answer, _) in enumerate(said):
                for choice in range(sampling.n):
                    index = position * sampling.n + choice
                    words, reason = _cut(answer, sampling)
                    async for delta in _deliver(words, index):
                        yield delta
                    yield Finish(reason, index)
                    completion_tokens += len(words)
            yield Usage(prompt_tokens, completion_tokens)
        finally:
            self._active -= 1

    async def embed(self, call: EmbedCall) -> Embeddings:
        """A unit vector drawn from each text's hash."""
        vectors = tuple(_vector(text.encode(), call.dimensions) for text in call.texts)
        return Embeddings(vectors, Usage(sum(_count(text) for text in call.texts)))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """A unit vector drawn from each image's and text's hash."""
        vectors = tuple(
            _vector(item.image + (item.text or "").encode(), call.dimensions)
            for item in call.inputs
        )
        return Embeddings(vectors, Usage(sum(1 + _count(i.text or "") for i in call.inputs)))


def _text_of(message: Message) -> str:
    match message:
        case UserMessage(parts=parts):
            return " ".join(part.text for part in parts if isinstance(part, TextPart))
        case SystemMessage(text=text) | AssistantMessage(text=text) | ToolMessage(text=text):
            return text


def _count(text: str) -> int:
    return max(1, len(text.split()))


def _chosen_tool(call: ChatCall) -> str | None:
    if not call.tools or call.tool_choice == "none":
        return None
    if isinstance(call.messages[-1], ToolMessage) and call.tool_choice == "auto":
        return None
    return call.tool_choice.name if isinstance(call.tool_choice, NamedTool) else call.tools[0].name


def _json_answer(form: object) -> str:
    if not isinstance(form, JsonSchema):
        return "{}"
    names = form.schema.get("required", [])
    filled = {str(name): "" for name in names} if isinstance(names, list) else {}
    return json.dumps(filled, separators=(",", ":"), ensure_ascii=False)


def _cut(answer: str, sampling: Sampling) -> tuple[list[str], FinishReason]:
    """The words before any stop text, at most `max_tokens` of them; spaces stay with their word."""
    found = [answer.find(stop) for stop in sampling.stop if stop in answer]
    if found:
        answer = answer[: min(found)]
    words = [word + " " for word in answer.split(" ")]
    words[-1] = words[-1][:-1]
    limit = DEFAULT_MAX_TOKENS if sampling.max_tokens is None else sampling.max_tokens
    return (words, "stop") if len(words) <= limit else (words[:limit], "length")


async def _deliver(words: list[str], index: int) -> Deltas:
    command = words[0].strip() if words else ""
    number = int(words[1]) if len(words) > 1 and words[1].strip().isdecimal() else 0
    match command:
        case "/fail":
            raise EngineFailed("The engine was told to fail.")
        case "/crash":
            os._exit(86)
        case "/hang":
            await asyncio.Event().wait()
        case _:
            pass
    for position, word in enumerate(words):
        if command == "/fail-after" and position == number:
            raise EngineFailed("The engine was told to fail.")
        if command == "/crash-after" and position == number:
            os._exit(86)
        if command == "/slow":
            await asyncio.sleep(number / 1000)
        yield TextDelta(word, index)


def _vector(content: bytes, dimensions: int | None) -> bytes:
    numbers = [
        byte - 127.5 for byte in hashlib.sha256(content).digest()[: dimensions or DIMENSIONS]
    ]
    length = math.sqrt(sum(x * x for x in numbers))
    return struct.pack(f"<{len(numbers)}f", *(x / length for x in numbers))
