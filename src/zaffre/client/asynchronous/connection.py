"""One server behind a transport: bounded retries, bounded sizes, and errors by cause."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx2

from zaffre.client.answers import read_answer
from zaffre.client.endpoint import Endpoint
from zaffre.client.errors import (
    ClientError,
    ConnectionFailed,
    CutOff,
    InvalidAnswer,
    RequestFailed,
    TimedOut,
)
from zaffre.client.options import Body
from zaffre.client.refusals import (
    RETRYABLE,
    read_error_event,
    read_refusal,
    read_request_id,
    read_retry_after,
)
from zaffre.client.waiting import async_pause
from zaffre.wire import sse

CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 100
"""At a time; further requests wait for a free one."""
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""2,048 vectors of 4,096 dimensions are 45 MB in base64 and 185 MB as JSON numbers."""
MAX_ERROR_BYTES = 64 * 1024
FIRST_PAUSE_S = 0.25
"""Before a connection is tried again; doubles every time."""
MAX_PAUSE_S = 60
"""A server that asks for more gets no second request: the caller decides."""
T = TypeVar("T")
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
_UNCONNECTED = (*_UNSENT, httpx2.PoolTimeout, httpx2.ProxyError)


class AsyncConnection:
    """Sends requests and reads answers.

    `timeout_s` bounds the wait for the first byte and for each following one. A request is repeated
    at most `retries` times, and only when the server has not seen it or has said when to come back.
    All methods raise `ClientError`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float,
        retries: int,
        transport: httpx2.AsyncBaseTransport | None = None,
        wait: Callable[[float], Awaitable[None]] = async_pause,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._timeout_s = timeout_s
        self._retries = retries
        self._wait = wait
        self._max_answer_bytes = max_answer_bytes
        self._http = httpx2.AsyncClient(
            headers=endpoint.headers(),
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            limits=httpx2.Limits(max_connections=MAX_CONNECTIONS),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get(self, url: httpx2.URL, kind: type[T]) -> T:
        """The `kind` at `url`."""
        return await self._read(self._http.build_request("GET", url), kind)

    async def post(self, url: httpx2.URL, body: Body, kind: type[T]) -> T:
        """The `kind` that the server answers `body` with."""
        return await self._read(self._post_request(url, body), kind)

    async def events(self, url: httpx2.URL, body: Body, kind: type[T]) -> AsyncGenerator[T]:
        """The `kind` in every event that the server answers `body` with.

        Ends after the end marker only. An error event, or an end without the marker, is `CutOff`.
        """
        async with self._exchange(self._post_request(url, body)) as response:
            request_id = read_request_id(response.headers)
            if "text/event-stream" not in response.headers.get("content-type", "").lower():
                raise InvalidAnswer("The server did not answer with a stream.")
            events = sse.EventReader()
            async for piece in response.aiter_bytes():
                for payload in _feed(events, piece):
                    if payload == sse.DONE:
                        return
                    if error := read_error_event(payload, request_id):
                        raise error
                    yield read_answer(payload, kind, request_id)
            raise CutOff("The stream ended before its end marker.", request_id=request_id)

    def _post_request(self, url: httpx2.URL, body: Body) -> httpx2.Request:
        return self._http.build_request("POST", url, content=body.content, headers=body.headers)

    async def _read(self, request: httpx2.Request, kind: type[T]) -> T:
        async with self._exchange(request) as response:
            content = await _read_start(response, self._max_answer_bytes)
            request_id = read_request_id(response.headers)
        if len(content) > self._max_answer_bytes:
            raise InvalidAnswer(f"The answer is larger than {self._max_answer_bytes} bytes.")
        return read_answer(content, kind, request_id)

    @asynccontextmanager
    async def _exchange(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Response]:
        """The server's answer to `request`, which is not an error; its body is still to be read."""
        request_id = None
        try:
            response = await self._send(request)
            request_id = read_request_id(response.headers)
            try:
                if response.status_code != 200:
                    raise await _refusal(response)
                yield response
            finally:
                await response.aclose()
        except httpx2.RequestError as error:
            raise self._explain(error, request_id) from error

    async def _send(self, request: httpx2.Request) -> httpx2.Response:
        for attempt in range(self._retries):
            wait_s = FIRST_PAUSE_S * 2**attempt
            with contextlib.suppress(*_UNSENT):
                response = await self._http.send(request, stream=True)
                asked_s = _asked_pause(response)
                if asked_s is None:
                    return response
                await response.aclose()
                wait_s = asked_s
            await self._wait(wait_s)
        return await self._http.send(request, stream=True)

    def _explain(self, error: httpx2.RequestError, request_id: str | None) -> ClientError:
        text = str(error) or type(error).__name__
        if isinstance(error, _UNCONNECTED):
            return ConnectionFailed(f"No connection to {error.request.url.host}: {text}.")
        if isinstance(error, httpx2.TimeoutException):
            sentence = f"The server sent nothing for {self._timeout_s:g} seconds."
            return TimedOut(sentence, request_id=request_id)
        sentence = f"The connection ended before the answer did: {text}."
        return CutOff(sentence, request_id=request_id)


def _asked_pause(response: httpx2.Response) -> int | None:
    """How long the server asks to wait; None when the response is one to go on with."""
    if response.status_code not in RETRYABLE:
        return None
    wait_s = read_retry_after(response.headers)
    return wait_s if wait_s is not None and wait_s <= MAX_PAUSE_S else None


def _feed(events: sse.EventReader, piece: bytes) -> list[bytes]:
    try:
        return list(events.feed(piece))
    except sse.EventTooLargeError as error:
        raise InvalidAnswer(str(error)) from None


async def _refusal(response: httpx2.Response) -> RequestFailed:
    body = b""
    # The status says enough when its explanation does not come through.
    with contextlib.suppress(httpx2.RequestError):
        body = await _read_start(response, MAX_ERROR_BYTES)
    return read_refusal(response.status_code, response.headers, body)


async def _read_start(response: httpx2.Response, limit_bytes: int) -> bytes:
    """The body, or a start of it that is longer than `limit_bytes`."""
    pieces = []
    size = 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > limit_bytes:
            break
    return b"".join(pieces)
