"""The client of workers: calls out as our internal OpenAI JSON, deltas and vectors back."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import aiohttp

from zaffre.core.calls import ChatCall, EmbedCall, GenerationCall, ImageEmbedCall
from zaffre.core.deltas import Batches, Delta, Embeddings, Usage
from zaffre.core.engine import Health
from zaffre.core.errors import EngineFailed, ZaffreError
from zaffre.translation import answers
from zaffre.translation.chat_requests import write_chat
from zaffre.translation.errors import read_internal_error
from zaffre.translation.other_requests import (
    write_completion,
    write_embedding,
    write_image_embedding,
)
from zaffre.upstream.transport import (
    MAX_ANSWER_BYTES,
    MAX_VECTORS_BYTES,
    Transport,
    decode,
)
from zaffre.wire import codec
from zaffre.wire.chat import ChatChunk, ChatResponse
from zaffre.wire.completions import CompletionResponse
from zaffre.wire.embeddings import EmbeddingResponse

CONNECT_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 1024
"""Per replica; the replica's own queue is the bound that is felt first."""
MAX_HEALTH_BYTES = 64 * 1024
T = TypeVar("T")
ChunkT_contra = TypeVar("ChunkT_contra", contravariant=True)


class _ChunkReader(Protocol[ChunkT_contra]):
    def read(self, chunk: ChunkT_contra) -> list[Delta]: ...
    def close(self) -> Usage: ...


class UpstreamClient:
    """Speaks to one worker, on a Unix socket or at a base URL.

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
        connector = (
            aiohttp.UnixConnector(unix_socket, limit=MAX_CONNECTIONS)
            if unix_socket
            else aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
        )
        session = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s
            ),
        )
        self._transport = Transport(session, _refuse, timeout_s=timeout_s, strict_end=True)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def stream(self, call: GenerationCall) -> Batches:
        """See `zaffre.core.client.ModelClient`."""
        if isinstance(call, ChatCall):
            body = codec.encode(write_chat(call, self._model, stream=True))
            return self._stream("/chat/completions", body, ChatChunk, answers.ChatChunkReader())
        body = codec.encode(write_completion(call, self._model, stream=True))
        return self._stream("/completions", body, CompletionResponse, answers.TextChunkReader())

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """See `zaffre.core.client.ModelClient`."""
        if isinstance(call, ChatCall):
            body = codec.encode(write_chat(call, self._model, stream=False))
            chat = await self._post("/chat/completions", body, ChatResponse, MAX_ANSWER_BYTES)
            return answers.read_chat_answer(chat)
        body = codec.encode(write_completion(call, self._model, stream=False))
        text = await self._post("/completions", body, CompletionResponse, MAX_ANSWER_BYTES)
        return answers.read_text_answer(text)

    async def embed(self, call: EmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_embedding(call, self._model))
        response = await self._post("/embeddings", body, EmbeddingResponse, MAX_VECTORS_BYTES)
        return answers.read_embeddings(response, len(call.texts))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        body = codec.encode(write_image_embedding(call, self._model))
        response = await self._post(
            "/images/embeddings", body, EmbeddingResponse, MAX_VECTORS_BYTES
        )
        return answers.read_embeddings(response, len(call.inputs))

    async def health(self) -> Health:
        """How busy the worker's engine is."""
        root = self._base_url.removesuffix("/v1")
        content = await self._transport.fetch("GET", f"{root}/health", max_bytes=MAX_HEALTH_BYTES)
        return decode(content, Health)

    async def _post(self, path: str, body: bytes, kind: type[T], max_bytes: int) -> T:
        url = self._base_url + path
        return decode(await self._transport.fetch("POST", url, body, max_bytes=max_bytes), kind)

    def _stream(self, path: str, body: bytes, kind: type[T], reader: _ChunkReader[T]) -> Batches:
        return self._transport.stream(self._base_url + path, body, None, _Events(kind, reader))


class _Events(Generic[T]):
    """Reads a worker's stream, whose events are of one kind. A `StreamReader`."""

    def __init__(self, kind: type[T], reader: _ChunkReader[T]) -> None:
        self._kind, self._reader = kind, reader
        self.close = reader.close

    def read(self, payload: bytes) -> list[Delta]:
        if payload.startswith(b'{"error"'):
            raise read_internal_error(500, payload)
        return self._reader.read(decode(payload, self._kind))

    def read_whole(self, content: bytes) -> list[Delta]:
        raise EngineFailed("The model's worker answered a stream in one piece.")


def _refuse(status: int, _headers: Mapping[str, str], content: bytes) -> ZaffreError:
    return read_internal_error(status, content)
