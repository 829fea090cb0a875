"""The client of the Azure AI Model Inference API."""

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self, Unpack

import httpx2

from zaffre.client.answers import chat_text, completion_text, with_choices
from zaffre.client.asynchronous.connection import AsyncConnection
from zaffre.client.asynchronous.stream import AsyncStream
from zaffre.client.endpoint import Endpoint
from zaffre.client.images import Image, read_images
from zaffre.client.options import (
    ChatOptions,
    Extra,
    InputType,
    Message,
    SamplingOptions,
    chat_body,
    completion_body,
    embedding_body,
)
from zaffre.client.vectors import Vectors, read_vectors
from zaffre.client.waiting import async_run
from zaffre.wire.chat import ChatChunk, ChatResponse
from zaffre.wire.completions import CompletionResponse
from zaffre.wire.embeddings import EmbeddingResponse
from zaffre.wire.models import ModelEntry, ModelInfo, ModelList

DEFAULT_API_VERSION = "2025-04-01"
DEFAULT_TIMEOUT_S = 200.0
"""A little more than a Zaffre server allows its models, so that its own answer comes first."""
DEFAULT_RETRIES = 2


class AsyncClient:
    """Talks to one server of the Azure AI Model Inference API: a Zaffre, or any other.

        async with AsyncClient("http://127.0.0.1:8080", key) as client:
            answer = await client.chat("Why is the sky blue?")
            print(answer.choices[0].message.content)

    - `endpoint`: the server's address, with the path that its owner hands out.
    - `key`: the API key; sent as `api-key` and as a bearer token.
    - `timeout_s`: the longest wait for the first byte of an answer, and for each following one.
    - `retries`: how often a request is repeated that the server has not seen (no connection) or
      asked to send later (429 and 503 with `Retry-After` of at most a minute). Nothing else is
      repeated, least of all a stream that has begun. 0 turns it off.
    - `transport`: how requests travel; httpx2's own unless given. Without one, the environment's
      proxies are used (`HTTPS_PROXY`, `NO_PROXY`).

    One client serves any number of tasks at a time. Every method raises `ClientError`, and
    `TypeError` or `ValueError` for arguments that no server needs to be asked about.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        *,
        api_version: str = DEFAULT_API_VERSION,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._endpoint = Endpoint(endpoint, key, api_version)
        self._connection = AsyncConnection(
            self._endpoint, timeout_s=timeout_s, retries=retries, transport=transport
        )

    async def chat(
        self,
        messages: str | Sequence[Message],
        *,
        model: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatResponse:
        """The model's answer to a conversation; a bare string is one message of the user."""
        body = chat_body(messages, model, options, stream=False)
        url = self._endpoint.url("/chat/completions")
        return with_choices(await self._connection.post(url, body, ChatResponse))

    def stream_chat(
        self,
        messages: str | Sequence[Message],
        *,
        model: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncStream[ChatChunk]:
        """The same, piece by piece.

            async with client.stream_chat("Tell me a story.") as stream:
                async for text in stream.texts():
                    print(text, end="", flush=True)

        Nothing is sent before the first piece is asked for.
        """
        body = chat_body(messages, model, options, stream=True)
        url = self._endpoint.url("/chat/completions")
        return AsyncStream(self._connection.events(url, body, ChatChunk), chat_text)

    async def complete(
        self,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        **options: Unpack[SamplingOptions],
    ) -> CompletionResponse:
        """How the model continues a text, or several."""
        body = completion_body(prompt, model, options, stream=False)
        url = self._endpoint.url("/completions")
        return with_choices(await self._connection.post(url, body, CompletionResponse))

    def stream_complete(
        self,
        prompt: str | Sequence[str],
        *,
        model: str | None = None,
        **options: Unpack[SamplingOptions],
    ) -> AsyncStream[CompletionResponse]:
        """The same, piece by piece."""
        body = completion_body(prompt, model, options, stream=True)
        url = self._endpoint.url("/completions")
        return AsyncStream(self._connection.events(url, body, CompletionResponse), completion_text)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: InputType | None = None,
        extra: Extra | None = None,
    ) -> Vectors:
        """One vector for each text, exactly as the server computed it.

        `dimensions` shortens the vectors where the model allows it.
        """
        if isinstance(texts, str):
            raise TypeError("Texts come as a list, also when there is only one.")
        body = embedding_body(list(texts), model, dimensions, input_type, extra)
        url = self._endpoint.url("/embeddings")
        return read_vectors(await self._connection.post(url, body, EmbeddingResponse), len(texts))

    async def embed_images(
        self,
        images: Sequence[Image],
        *,
        captions: Sequence[str | None] | None = None,
        model: str | None = None,
        dimensions: int | None = None,
        input_type: InputType | None = None,
        extra: Extra | None = None,
    ) -> Vectors:
        """One vector for each image, given as the bytes of its file or as a path.

        A caption is embedded together with its image, by models that can. Raises `OSError` when a
        file cannot be read.
        """
        items = await async_run(partial(read_images, images, captions))
        body = embedding_body(items, model, dimensions, input_type, extra)
        url = self._endpoint.url("/images/embeddings")
        return read_vectors(await self._connection.post(url, body, EmbeddingResponse), len(items))

    async def info(self, *, model: str | None = None) -> ModelInfo:
        """Name, type and provider of `model`, or of the one that is used by default."""
        return await self._connection.get(self._endpoint.url("/info", model=model), ModelInfo)

    async def models(self) -> list[ModelEntry]:
        """What the server has, with each model's capabilities. Only some servers have this list."""
        return (await self._connection.get(self._endpoint.models_url(), ModelList)).data

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
