"""A server that answers from a script, in place of a network."""

from collections.abc import AsyncIterator, Iterator

import httpx2

Step = httpx2.Response | Exception

QUESTION = [{"role": "user", "content": "Hi"}]
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}],
}
SOME = b'data: {"choices":[{"index":0,"delta":{"content":"some "}}]}\n\n'
MORE = b'data: {"choices":[{"index":0,"delta":{"content":"more"}}]}\n\n'
FAILURE = (
    b'data: {"error":{"code":"engine_failed","message":"It broke.","status":500},"choices":[]}\n\n'
)
DONE = b"data: [DONE]\n\n"


class Script(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
    """Answers requests with `steps`, one after the other, and keeps the requests."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.handle_request(request)


class Pieces(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """A body that comes in pieces; an exception among them is how the connection ends."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def answered(status: int = 200, body: object = ANSWER, **headers: str) -> httpx2.Response:
    """A whole answer; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers=named)


def streamed(*pieces: bytes | Exception) -> httpx2.Response:
    """A stream of events."""
    kind = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "r1"}
    return httpx2.Response(200, stream=Pieces(*pieces), headers=kind)
