"""The upstream client: calls out as OpenAI JSON, answers back as deltas and vectors."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import aiohttp

from zaffre.core.calls import ChatCall, CompletionCall, EmbedCall, ImageEmbedCall
from zaffre.core.deltas import Delta, Deltas, Embeddings, Usage
from zaffre.core.engine import Health
from zaffre.core.errors import EngineFailed, ModelTimeout, ModelUnreachable, ZaffreError
from zaffre.translation import answers
from zaffre.translation.chat_requests import write_chat
from zaffre.translation.errors import read_internal_error
from zaffre.translation.other_requests import (
    write_completion,
    write_embedding,
    write_image_embedding,
)
from zaffre.wire import codec, sse
from zaffre.wire.chat import ChatChunk, ChatResponse
from zaffre.wire.completions import CompletionResponse
from zaffre.wire.embeddings import EmbeddingResponse

CONNECT_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 1024
"""Per replica; the replica's own queue is the bound that is felt first."""
T = TypeVar("T")
ChunkT_contra = TypeVar("ChunkT_contra", contravariant=True)


class _ChunkReader(Protocol[ChunkT_contra]):
    def read(self, chunk: ChunkT_contra) -> Iterator[Delta]: ...
    def close(self) -> Usage: ...


class UpstreamClient:
    """Speaks to one server: a worker on a Unix socket, or any OpenAI-compatible base URL.

    `base_url` ends before `/chat/completions`; with `unix_socket` its host is a mere name.
    `timeout_s` bounds the wait for the first byte and for each following one.
    """

    def __init__(
        self,
        base_url: str,
        *,
        secret: str,
        model: str = "",
        unix_socket: str | None = None,
        timeout_s: float = 180.0,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._model = model
        self._timeout_s = timeout_s
        connector = (
            aiohttp.UnixConnector(unix_socket, limit=MAX_CONNECTIONS)
            if unix_socket
            else aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s
            ),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def chat(self, call: ChatCall, *, stream: bool) -> Deltas:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_chat(call, self._model, stream=stream))
        if not stream:
            answer = await self._post("/chat/completions", body, ChatResponse)
            for delta in answers.read_chat_answer(answer):
                yield delta
            return
        reader = answers.ChatChunkReader()
        async for delta in self._stream("/chat/completions", body, ChatChunk, reader):
            yield delta

    async def complete(self, call: CompletionCall, *, stream: bool) -> Deltas:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_completion(call, self._model, stream=stream))
        if not stream:
            answer = await self._post("/completions", body, CompletionResponse)
            for delta in answers.read_text_answer(answer):
                yield delta
            return
        reader = answers.TextChunkReader()
        async for delta in self._stream("/completions", body, CompletionResponse, reader):
            yield delta

    async def embed(self, call: EmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_embedding(call, self._model))
        response = await self._post("/embeddings", body, EmbeddingResponse)
        return answers.read_embeddings(response, len(call.texts))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_image_embedding(call, self._model))
        response = await self._post("/images/embeddings", body, EmbeddingResponse)
        return answers.read_embeddings(response, len(call.inputs))

    async def health(self) -> Health:
        """How busy the worker's engine is. Foreign servers have no such route."""
        root = self._base_url.removesuffix("/v1")
        try:
            async with self._session.get(f"{root}/health") as response:
                return _decode(await response.read(), Health)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _explain(error, self._timeout_s) from error

    async def _post(self, path: str, body: bytes, kind: type[T]) -> T:
        try:
            async with self._session.post(self._base_url + path, data=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _explain(error, self._timeout_s) from error
        if response.status != 200:
            raise read_internal_error(response.status, content)
        return _decode(content, kind)

    async def _stream(
        self, path: str, body: bytes, kind: type[T], reader: _ChunkReader[T]
    ) -> Deltas:
        try:
            async with self._session.post(self._base_url + path, data=body) as response:
                if response.status != 200:
                    raise read_internal_error(response.status, await response.read())
                events = sse.EventReader()
                async for piece in response.content.iter_any():
                    for payload in events.feed(piece):
                        if payload == sse.DONE:
                            yield reader.close()
                            return
                        for delta in _read_event(payload, kind, reader.read):
                            yield delta
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _explain(error, self._timeout_s) from error
        except sse.EventTooLargeError as error:
            raise EngineFailed(str(error)) from error
        raise EngineFailed("The model's answer ended before it was complete.")


def _read_event(
    payload: bytes, kind: type[T], read: Callable[[T], Iterator[Delta]]
) -> Iterator[Delta]:
    if payload.startswith(b'{"error"'):
        raise read_internal_error(500, payload)
    return read(_decode(payload, kind))


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return codec.decode(content, kind)
    except codec.MalformedError as malformed:
        raise EngineFailed(
            f"The model's server sent a broken answer. {malformed.message}"
        ) from None


def _explain(error: Exception, timeout_s: float) -> ZaffreError:
    """The cause in our terms; the original text may name paths and stays in the logs."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ModelUnreachable("The model is not running right now. Please retry.")
    if isinstance(error, asyncio.TimeoutError):
        return ModelTimeout(f"The model sent nothing for {timeout_s:g} seconds.")
    return EngineFailed("The model stopped in the middle of this request.")
