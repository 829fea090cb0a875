"""What Microsoft's own tests of azure-ai-inference ask of an answer, and how to read one.

The checks are those of the SDK's test suite, written anew without its recording tools.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient, ImageEmbeddingsClient, aio
from azure.ai.inference.models import (
    AsyncStreamingChatCompletions,
    ChatCompletions,
    ChatRole,
    CompletionsFinishReason,
    CompletionsUsage,
    EmbeddingsResult,
    ModelInfo,
    StreamingChatCompletions,
    StreamingChatCompletionsUpdate,
)

Answer = TypeVar("Answer")
AnyChatClient = ChatCompletionsClient | aio.ChatCompletionsClient
AnyEmbeddingsClient = EmbeddingsClient | aio.EmbeddingsClient
AnyImageEmbeddingsClient = ImageEmbeddingsClient | aio.ImageEmbeddingsClient
Client = TypeVar("Client", bound=AnyChatClient | AnyEmbeddingsClient | AnyImageEmbeddingsClient)
Stream = StreamingChatCompletions | AsyncStreamingChatCompletions

RESULT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
LONG_TEXT_LENGTH = 50
"""The SDK asks large models for 100."""


async def settled(answer: Answer | Awaitable[Answer]) -> Answer:
    """What a sync client returned, or what an async one promised."""
    return await answer if inspect.isawaitable(answer) else answer


@asynccontextmanager
async def closing(client: Client) -> AsyncIterator[Client]:
    """The client, which is closed at the end whatever happens."""
    try:
        yield client
    finally:
        await settled(client.close())


async def updates_of(answer: Stream | Awaitable[Stream]) -> list[StreamingChatCompletionsUpdate]:
    """All updates of a stream, of either flavour."""
    stream = await settled(answer)
    # Closed here, because the client stops reading at [DONE] and keeps the connection.
    if isinstance(stream, AsyncStreamingChatCompletions):
        async with stream:
            return [update async for update in stream]
    with stream:
        return list(stream)


def text_of(updates: Iterable[StreamingChatCompletionsUpdate]) -> str:
    """The text that a user of the stream puts together."""
    return "".join(update.choices[0].delta.content or "" for update in updates)


def check_usage(usage: CompletionsUsage) -> None:
    """Tokens were read and written, and the sum is their sum."""
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def check_completion(response: ChatCompletions, contains: str = "") -> None:
    """A whole answer in text."""
    assert contains in response.choices[0].message.content
    assert response.choices[0].finish_reason == CompletionsFinishReason.STOPPED
    _check_frame(response)


def check_tool_call(response: ChatCompletions) -> None:
    """A whole answer that is a tool call and no text."""
    assert not response.choices[0].message.content
    assert response.choices[0].finish_reason == CompletionsFinishReason.TOOL_CALLS
    _check_frame(response)


def _check_frame(response: ChatCompletions) -> None:
    assert response.choices[0].message.role == ChatRole.ASSISTANT
    assert response.choices[0].index == 0
    assert RESULT_ID.fullmatch(response.id)
    assert response.created.year >= 2024
    assert response.model
    check_usage(response.usage)


def check_stream(updates: list[StreamingChatCompletionsUpdate]) -> None:
    """A streamed answer in text that ended by itself."""
    assert len(updates) > 2
    assert updates[0].choices[0].delta.role == ChatRole.ASSISTANT
    for update in updates[1:]:
        assert update.choices[0].delta.role is None
        assert update.choices[0].delta.content is not None
    for update in updates:
        assert update.choices[0].delta.tool_calls is None
        assert update.choices[0].index == 0
        assert RESULT_ID.fullmatch(update.id)
        assert update.created.year >= 2024
        assert update.model
    assert len(text_of(updates)) > LONG_TEXT_LENGTH
    # The last update carries both: programs read them there and nowhere else.
    assert updates[-1].choices[0].finish_reason == CompletionsFinishReason.STOPPED
    check_usage(updates[-1].usage)


def check_embeddings(result: EmbeddingsResult, count: int) -> None:
    """Vectors of floats, one per input, in order."""
    check_embeddings_frame(result, count)
    for item in result.data:
        assert isinstance(item.embedding, list)
        assert item.embedding[0] != 0.0
        assert item.embedding[-1] != 0.0


def check_base64_embeddings(result: EmbeddingsResult, count: int) -> None:
    """Vectors as base64, one per input, in order."""
    check_embeddings_frame(result, count)
    for item in result.data:
        assert isinstance(item.embedding, str)
        assert BASE64.fullmatch(item.embedding)


def check_embeddings_frame(result: EmbeddingsResult, count: int) -> None:
    """What surrounds vectors in any encoding."""
    assert [item.index for item in result.data] == list(range(count))
    assert RESULT_ID.fullmatch(result.id)
    assert result.usage.prompt_tokens > 0
    assert result.usage.total_tokens == result.usage.prompt_tokens


def check_info(info: ModelInfo, model: str, model_type: str) -> None:
    """The three facts about a model."""
    assert info.model_name == model
    assert info.model_type == model_type
    assert info.model_provider_name
