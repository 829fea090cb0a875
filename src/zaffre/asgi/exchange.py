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


async def run_until_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, which has read the body already; cancel it as soon as the client goes away.

    Raises `ClientDisconnectedError` then, after `work` has cleaned up.
    """
    answering = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not answering.done():
            answering.cancel()
        # Both are awaited so that nothing of this request outlives it.
        await asyncio.gather(answering, watching, return_exceptions=True)
    if answering.cancelled():
        raise ClientDisconnectedError
    answering.result()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_stream(send: Send, headers: Headers, frames: AsyncGenerator[bytes, None]) -> None:
    """Send `frames` as one answer, each as soon as it is there.

    Nothing is sent before the first frame: an error up to then can still have its status. An error
    after that leaves the answer without its end, so that the client sees it was cut off.
    """
    async with aclosing(frames):
        started = False
        async for frame in frames:
            if not started:
                start = {"type": "http.response.start", "status": 200, "headers": list(headers)}
                await send(start)
                started = True
            await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
