"""The worker's HTTP: an internal form of the OpenAI wire, `/health` and `/capabilities`.

| route | answers |
|---|---|
| POST /v1/chat/completions, /v1/completions | JSON, or events when `stream` is true |
| POST /v1/embeddings, /v1/images/embeddings | JSON, vectors in base64 |
| GET /health, /capabilities | `Health`, `Capabilities` |
"""

import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from zaffre.asgi.exchange import (
    EVENT_STREAM,
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    read_body,
    run_until_disconnect,
    send_stream,
    send_whole,
)
from zaffre.core.answers import Answer, gather
from zaffre.core.capabilities import Capabilities
from zaffre.core.deltas import Deltas, ToolCallDelta
from zaffre.core.engine import (
    ChatEngine,
    CompletionEngine,
    EmbeddingEngine,
    Engine,
    ImageEmbeddingEngine,
)
from zaffre.core.errors import EngineFailed, InvalidRequest, NotFound, Overloaded, ZaffreError
from zaffre.translation import answers
from zaffre.translation.chat_requests import read_chat
from zaffre.translation.errors import write_internal_error
from zaffre.translation.other_requests import (
    read_completion,
    read_embedding,
    read_image_embedding,
)
from zaffre.wire import codec, sse
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

MAX_BODY_BYTES = 512 * 1024 * 1024
"""The gateway holds clients to less; this bounds the gateway's own mistakes."""
log = logging.getLogger("zaffre.worker")


class WorkerApp:
    """ASGI application around one started engine.

    At most `max_requests` are inside the engine or waiting for it; the next is refused at once.
    """

    def __init__(
        self, engine: Engine, capabilities: Capabilities, *, secret: str, max_requests: int
    ) -> None:
        self._engine = engine
        self._capabilities = capabilities
        self._token = f"Bearer {secret}".encode()
        self._max_requests = max_requests
        self._requests = 0
        self._routes: dict[tuple[str, str], Callable[[bytes, Send], Awaitable[None]]] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embed,
            ("POST", "/v1/images/embeddings"): self._embed_images,
            ("GET", "/health"): self._health,
            ("GET", "/capabilities"): self._report,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors leave in the internal form."""
        if scope["type"] != "http":
            return
        try:
            handle = self._authorised_handler(scope)
            body = await read_body(receive, MAX_BODY_BYTES)
            await run_until_disconnect(receive, self._fenced(handle, body, send))
        except ClientDisconnectedError:
            pass
        except ZaffreError as error:
            await _send_error(send, error)
        except BodyTooLargeError:
            await _send_error(send, InvalidRequest("The body is too large."))

    def _authorised_handler(self, scope: Scope) -> Callable[[bytes, Send], Awaitable[None]]:
        token = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        handle = self._routes.get((scope["method"], scope["path"]))
        if not hmac.compare_digest(token, self._token) or handle is None:
            raise NotFound("Not found.")
        return handle

    async def _fenced(
        self, handle: Callable[[bytes, Send], Awaitable[None]], body: bytes, send: Send
    ) -> None:
        sender = _OnceStarted(send)
        try:
            await handle(body, sender)
        except ZaffreError as error:
            await sender.fail(error)
        except codec.MalformedError as malformed:
            await sender.fail(
                InvalidRequest(malformed.message, malformed.location, malformed.value)
            )
        except Exception:  # the fence: an engine's bug must not look like a closed connection
            log.exception("the engine broke")
            await sender.fail(EngineFailed("The engine broke on this request."))

    async def _chat(self, body: bytes, send: Send) -> None:
        if not isinstance(self._engine, ChatEngine):
            raise NotFound("This engine does not chat.")
        request = codec.decode(body, ChatRequest)
        deltas = self._engine.chat(read_chat(request, {}))
        with self._admitted():
            if request.stream:
                await send_stream(send, [EVENT_STREAM], _chat_frames(deltas))
            else:
                whole = answers.write_chat_answer(await _gather(deltas))
                await send_whole(send, 200, [JSON], codec.encode(whole))

    async def _complete(self, body: bytes, send: Send) -> None:
        if not isinstance(self._engine, CompletionEngine):
            raise NotFound("This engine does not complete text.")
        request = codec.decode(body, CompletionRequest)
        deltas = self._engine.complete(read_completion(request, {}))
        with self._admitted():
            if request.stream:
                await send_stream(send, [EVENT_STREAM], _text_frames(deltas))
            else:
                whole = answers.write_text_answer(await _gather(deltas))
                await send_whole(send, 200, [JSON], codec.encode(whole))

    async def _embed(self, body: bytes, send: Send) -> None:
        if not isinstance(self._engine, EmbeddingEngine):
            raise NotFound("This engine does not embed text.")
        call = read_embedding(codec.decode(body, EmbeddingRequest), {})
        with self._admitted():
            vectors = answers.write_embeddings(await self._engine.embed(call))
        await send_whole(send, 200, [JSON], codec.encode(vectors))

    async def _embed_images(self, body: bytes, send: Send) -> None:
        if not isinstance(self._engine, ImageEmbeddingEngine):
            raise NotFound("This engine does not embed images.")
        call = read_image_embedding(codec.decode(body, ImageEmbeddingRequest), {})
        with self._admitted():
            vectors = answers.write_embeddings(await self._engine.embed_images(call))
        await send_whole(send, 200, [JSON], codec.encode(vectors))

    async def _health(self, _body: bytes, send: Send) -> None:
        await send_whole(send, 200, [JSON], codec.encode(self._engine.health()))

    async def _report(self, _body: bytes, send: Send) -> None:
        await send_whole(send, 200, [JSON], codec.encode(self._capabilities))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._requests >= self._max_requests:
            raise Overloaded("The model's queue is full. Please retry after 1 second.")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1


class _OnceStarted:
    """A `send` that knows whether the answer has begun: then an error can only be an event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def __call__(self, message: Message) -> None:
        self._started = True
        await self._send(message)

    async def fail(self, error: ZaffreError) -> None:
        if not self._started:
            await _send_error(self._send, error)
            return
        _, body = write_internal_error(error)
        event = sse.frame(codec.encode(body))
        await self._send({"type": "http.response.body", "body": event, "more_body": False})


async def _send_error(send: Send, error: ZaffreError) -> None:
    status, body = write_internal_error(error)
    await send_whole(send, status, [JSON], codec.encode(body))


async def _gather(deltas: Deltas) -> Answer:
    async with aclosing(deltas):
        return await gather(deltas)


async def _chat_frames(deltas: Deltas) -> AsyncGenerator[bytes, None]:
    tool_calls: dict[int, int] = {}
    async with aclosing(deltas):
        async for delta in deltas:
            number = 0
            if isinstance(delta, ToolCallDelta):
                number = tool_calls.get(delta.index, 0)
                tool_calls[delta.index] = number + 1
            yield sse.frame(codec.encode(answers.write_chat_chunk(delta, number)))
    yield sse.END


async def _text_frames(deltas: Deltas) -> AsyncGenerator[bytes, None]:
    async with aclosing(deltas):
        async for delta in deltas:
            yield sse.frame(codec.encode(answers.write_text_chunk(delta)))
    yield sse.END
