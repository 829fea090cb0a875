"""One HTTP exchange: bounded reading, exact writing, and an end when the client goes away."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    MutableMapping,
)
from contextlib import aclosing, contextmanager
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


class Watchful(ABC):
    """A `Receive` of a server that can say more than ASGI asks of it."""

    @abstractmethod
    def __call__(self) -> Awaitable[Message]:
        """The next message."""

    @property
    @abstractmethod
    def has_all(self) -> bool:
        """Whether the whole body of the request is there."""

    @abstractmethod
    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the client goes away, at once if it has; None: nobody wants to know."""


class BodyTooLargeError(Exception):
    """The body has more bytes than the server takes."""


class ClientDisconnectedError(Exception):
    """The client went away before its answer was complete."""


async def read_body(receive: Receive, max_bytes: int) -> bytes:
    """The request body. Raises `BodyTooLargeError` or `ClientDisconnectedError`."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise BodyTooLargeError
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


async def read_body_within(receive: Receive, max_bytes: int, timeout_s: float) -> bytes:
    """As `read_body`. Raises `TimeoutError` when the body is not whole after `timeout_s`."""
    if isinstance(receive, Watchful) and receive.has_all:  # nearly always, and a timer is not free
        return await read_body(receive, max_bytes)
    async with asyncio.timeout(timeout_s):
        return await read_body(receive, max_bytes)


def _never() -> bool:
    return False


async def run_until_disconnect(
    receive: Receive, work: Coroutine[Any, Any, None], is_whole: Callable[[], bool] = _never
) -> None:
    """Run `work`, which has read the body already; cancel it as soon as the client goes away.

    Once `is_whole` says that the whole answer is sent, nothing disturbs what is left of `work`.
    Raises `ClientDisconnectedError` when it was cancelled, after it has cleaned up.
    """
    # `work` runs in this task: a task of its own for it would cost as much as all else in here.
    watch = _Watch(asyncio.current_task(), is_whole)
    with watch.on(receive):
        try:
            await work
        except asyncio.CancelledError:
            if watch.took_back():
                raise ClientDisconnectedError from None
            raise


class _Watch:
    """Waits for a client to leave, and cancels the task that answers it."""

    def __init__(self, answering: asyncio.Task[Any] | None, is_whole: Callable[[], bool]) -> None:
        self._answering = answering
        self._is_whole = is_whole
        self._cancelled = False

    @contextmanager
    def on(self, receive: Receive) -> Iterator[None]:
        if isinstance(receive, Watchful):
            receive.when_gone(self._gone)
            try:
                yield
            finally:
                receive.when_gone(None)
            return
        watching = asyncio.ensure_future(self._wait(receive))
        try:
            yield
        finally:
            watching.cancel()

    async def _wait(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        if self._answering is not None and not self._is_whole():
            self._cancelled = True
            self._answering.cancel()

    def took_back(self) -> bool:
        """Whether this cancelled the task, and nobody else did; it is not cancelled any more."""
        cancelled, self._cancelled = self._cancelled, False
        return cancelled and self._answering is not None and self._answering.uncancel() == 0


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_stream(
    send: Send, headers: Headers, frames: AsyncGenerator[bytes, None], end: bytes | None = None
) -> None:
    """Send `frames` as one answer, each as soon as it is there.

    Nothing is sent before the first frame: an error up to then can still have its status. An error
    after that leaves the answer without its end, so that the client sees it was cut off. A frame
    that ends with `end` is the last one: the answer's own end goes out with it.
    """
    started = more = False
    async with aclosing(frames):
        async for frame in frames:
            if not started:
                start = {"type": "http.response.start", "status": 200, "headers": list(headers)}
                await send(start)
                started = True
            more = end is None or not frame.endswith(end)
            await send({"type": "http.response.body", "body": frame, "more_body": more})
    if more:
        await send({"type": "http.response.body", "body": b""})
