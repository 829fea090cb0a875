"""HTTP to one server: pooled connections, bounded answers and event streams, failures by cause."""

import asyncio
import io
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Protocol, Self, TypeVar

import aiohttp

from zaffre.core.deltas import Batches, Delta, Usage
from zaffre.core.errors import (
    EngineFailed,
    ModelTimeout,
    ModelUnavailable,
    ModelUnreachable,
    ZaffreError,
)
from zaffre.wire import codec, sse

MIB = 1024 * 1024
MAX_ANSWER_BYTES = 64 * MIB
"""A whole chat or text answer."""
MAX_VECTORS_BYTES = 256 * MIB
"""A whole answer of vectors: 2,048 of 4,096 numbers each in JSON are 160 MiB."""
MAX_STREAM_BYTES = 512 * MIB
"""All of one stream."""
MAX_ERROR_BYTES = 64 * 1024
"""Of an error's body; the rest is not read."""
ERROR_TIMEOUT_S = 5.0
"""For an error's body; its status alone says enough."""
DRAIN_TIMEOUT_S = 0.05
"""From the end marker to the body's end: a connection read to its end is used again."""
LOOK_S = 1.0
"""Between two looks at whether the connection is still there."""
KEEP_ALIVE_S = 4.0
"""uvicorn and llama.cpp close idle connections after 5 s: whoever closes first never meets the
other's close with a request half sent."""
JSON = "application/json"
LARGE_BODY_BYTES = 1024 * 1024
Refuse = Callable[[int, Mapping[str, str], bytes], ZaffreError]
"""Status, headers and body of an error to what it means."""
TROUBLES = (aiohttp.ClientError, TimeoutError, OSError, sse.EventTooLargeError, RuntimeError)
"""What a connection may raise."""
T = TypeVar("T")


class StreamReader(Protocol):
    """What the parts of one answer mean."""

    def read(self, payload: bytes) -> list[Delta]:
        """The deltas of one event."""

    def read_whole(self, content: bytes) -> list[Delta]:
        """The deltas of an answer in one piece, its usage last."""

    def close(self) -> Usage:
        """The usage, at the end. Raises `EngineFailed` when the answer is not whole."""


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """What aiohttp is given: a large body in one piece would hold up the loop, and it warns."""
    if len(body) > LARGE_BODY_BYTES:
        return io.BytesIO(body)
    return body or None


class Transport:
    """Connections to one server.

    `timeout_s` bounds the wait for the first byte of an answer, for each further event of a stream,
    and for the rest of a whole answer. `strict_end`: a stream is whole only after its end marker;
    otherwise also when its body has a length or is chunked, and has come to its end.
    `stale_tries`: how often a request is sent again after a connection that had been used before
    was closed without a byte of an answer: most likely the server had done so before the request.
    The session then has `noticing_reuse()` among its trace configurations.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        refuse: Refuse,
        *,
        timeout_s: float,
        strict_end: bool,
        stale_tries: int = 0,
    ) -> None:
        self._session = session
        self._refuse = refuse
        self._timeout_s = timeout_s
        self._strict_end = strict_end
        self._stale_tries = stale_tries

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        max_bytes: int,
    ) -> bytes:
        """The whole body of the response to a request, once its status is 200.

        Whatever goes wrong is raised as `ZaffreError`.
        """
        try:
            async with await self._open(method, url, body, headers) as response:
                await self._check(response)
                return await self.read(response, max_bytes)
        except TROUBLES as error:
            raise self._explain(error) from error

    async def stream(
        self, url: str, body: bytes, headers: Mapping[str, str] | None, reader: StreamReader
    ) -> Batches:
        """The deltas that `reader` makes of the event stream that answers a POST.

        What comes before a broken event, or before one that tells of an error, is handed out before
        the error is raised. Whatever goes wrong is raised as `ZaffreError`.
        """
        try:
            async with await self._open("POST", url, body, headers) as response:
                await self._check(response)
                if response.content_type == JSON:  # some answer in one piece all the same
                    yield reader.read_whole(await self.read(response, MAX_ANSWER_BYTES))
                    return
                with _Patience(response, self._timeout_s) as patience:
                    events = _Events(reader)
                    while piece := await response.content.readany():
                        batch, trouble = events.feed(piece)
                        if batch:
                            patience.deadline = math.inf  # it is the reader who takes time
                            yield batch
                        if trouble is not None:
                            raise trouble
                        if events.ended:
                            await _drain(response)
                            return
                        if events.heard:
                            patience.renew()
                if self._strict_end or not _framed(response):
                    raise EngineFailed("The model's answer ended before it was complete.")
                yield [reader.close()]
        except TROUBLES as error:
            raise self._explain(error) from error

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status != 200:
            content = await self._error_body(response)
            raise self._refuse(response.status, response.headers, content)

    def _explain(self, error: Exception) -> Exception:
        """What `error` means; itself when it is a bug."""
        if isinstance(error, sse.EventTooLargeError):
            return EngineFailed(str(error))
        if isinstance(error, RuntimeError):  # aiohttp's word for a session that was closed under it
            closed = ModelUnavailable("The model was just taken away. Please retry.")
            return closed if self._session.closed else error
        return _explain(error, self._timeout_s)

    async def read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        """The whole body. Raises `EngineFailed` when it is larger than `max_bytes`."""
        too_large = EngineFailed(f"The model's answer is larger than {max_bytes} bytes.")
        if (response.content_length or 0) > max_bytes:
            raise too_large
        if response.content.is_eof():  # it came with its head: nearly always
            return self._rest(response, too_large, max_bytes)
        pieces, size = [], 0
        with _Patience(response, self._timeout_s):
            while piece := await response.content.readany():
                size += len(piece)
                if size > max_bytes:
                    raise too_large
                pieces.append(piece)
        return b"".join(pieces)

    def _rest(
        self, response: aiohttp.ClientResponse, too_large: EngineFailed, max_bytes: int
    ) -> bytes:
        """A body whose end has come."""
        if (trouble := response.content.exception()) is not None:
            raise trouble
        content = response.content.read_nowait()
        if len(content) > max_bytes:
            raise too_large
        return content

    async def _open(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        for left in reversed(range(1 + self._stale_tries)):
            visit = _Visit()
            try:
                return await self._session.request(
                    method,
                    url,
                    data=_payload(body),
                    headers=headers,
                    # A redirect would take the credential along, and turn POST into GET.
                    allow_redirects=False,
                    trace_request_ctx=visit,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not left or not visit.reused:
                    raise
        raise AssertionError  # the last try returns or raises

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        content = b""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(ERROR_TIMEOUT_S):
                while len(content) < MAX_ERROR_BYTES and (
                    piece := await response.content.read(MAX_ERROR_BYTES)
                ):
                    content += piece
        return content[:MAX_ERROR_BYTES]


class _Events:
    """Turns the pieces of one event stream into batches of deltas."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._events = sse.EventReader()
        self._size = 0
        self.heard = False
        """Whether the last piece had an event; comments are no sign of life."""
        self.ended = False
        """Whether the end marker has come."""

    def feed(self, piece: bytes) -> tuple[list[Delta], ZaffreError | None]:
        """The deltas that `piece` completes, and what then went wrong."""
        self._size += len(piece)
        if self._size > MAX_STREAM_BYTES:
            raise EngineFailed(f"The answer is larger than {MAX_STREAM_BYTES} bytes.")
        payloads = self._events.feed(piece)
        self.heard = bool(payloads)
        self.ended = sse.DONE in payloads
        return read_together(payloads, self._reader)


def read_together(
    payloads: list[bytes], reader: StreamReader
) -> tuple[list[Delta], ZaffreError | None]:
    """The deltas of payloads that came together, up to the end marker or the first trouble."""
    batch: list[Delta] = []
    try:
        for payload in payloads:
            if payload == sse.DONE:
                batch.append(reader.close())
                break
            batch += reader.read(payload)
    except ZaffreError as error:
        return batch, error
    return batch, None


def decode(content: bytes, kind: type[T]) -> T:
    """A `kind` from a server's JSON. Raises `EngineFailed` without a word of the content."""
    try:
        return codec.decode(content, kind)
    except codec.MalformedError as malformed:
        raise EngineFailed(
            f"The model's server sent a broken answer. {malformed.message}"
        ) from None


class _Visit:
    """Whether a request went out on a connection that had been used before."""

    def __init__(self) -> None:
        self.reused = False


def noticing_reuse() -> aiohttp.TraceConfig:
    """Notes on each request whether its connection is a used one; see `Transport`."""
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    return tracing


async def _note_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused = True


class _Patience:
    """Wakes whoever waits for a body when nothing has come for too long.

    One timer for the whole body, instead of aiohttp's: one for each piece would cost half as much
    again as the piece.
    Looks at the connection, too: aiohttp 3.14 closes it when the chunks of a body make no sense,
    and does not wake who waits for more.
    """

    def __init__(self, response: aiohttp.ClientResponse, timeout_s: float) -> None:
        self._response = response
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self.deadline = math.inf
        """On the loop's clock; infinite while nobody waits for the server."""

    def __enter__(self) -> Self:
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = None  # until the next request
        self.renew()
        self._timer = self._loop.call_at(self._next_look(), self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def renew(self) -> None:
        """Wait from now on."""
        self.deadline = self._loop.time() + self._timeout_s

    def _look(self) -> None:
        connection = self._response.connection
        if self._loop.time() >= self.deadline:
            self._response.content.set_exception(TimeoutError())
        elif connection is not None and connection.transport is None:
            self._response.content.set_exception(
                EngineFailed("The model's server broke the rules of HTTP in mid-answer.")
            )
        else:
            self._timer = self._loop.call_at(self._next_look(), self._look)

    def _next_look(self) -> float:
        return min(self.deadline, self._loop.time() + LOOK_S)


def _framed(response: aiohttp.ClientResponse) -> bool:
    """Whether the body's end was announced: a mere close of the connection proves nothing."""
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return chunked or "Content-Length" in response.headers


async def _drain(response: aiohttp.ClientResponse) -> None:
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            await response.content.readany()


def _explain(error: Exception, timeout_s: float) -> ZaffreError:
    """The cause in our terms; the original text may name paths and hosts, and stays in the logs."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return ModelUnreachable("The model's server has no certificate that is trusted here.")
        case aiohttp.ClientConnectorDNSError():
            return ModelUnreachable("The name of the model's server is not known at present.")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return ModelUnreachable("The model is not running right now. Please retry.")
        case TimeoutError():
            return ModelTimeout(f"The model sent nothing for {timeout_s:g} seconds.")
        case aiohttp.ClientResponseError():
            return EngineFailed("The model's server sent something that is not HTTP.")
        case _:
            return EngineFailed("The model stopped in the middle of this request.")
