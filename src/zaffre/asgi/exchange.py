"""One HTTP exchange: bounded reading, exact writing, and an end when the client goes away."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, MutableMapping
from contextlib import aclosing
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


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
    watching = asyncio.ensure_future(watch.run(receive))
    try:
        await work
    except asyncio.CancelledError:
        if watch.took_back():
            raise ClientDisconnectedError from None
        raise
    finally:
        watching.cancel()


class _Watch:
    """Waits for a client to leave, and cancels the task that answers it."""

    def __init__(self, answering: asyncio.Task[Any] | None, is_whole: Callable[[], bool]) -> None:
        self._answering = answering
        self._is_whole = is_whole
        self._cancelled = False

    async def run(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
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
