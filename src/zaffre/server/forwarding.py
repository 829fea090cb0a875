"""Forwarding: the admin API in a gateway process that has no platform of its own."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol
from urllib.parse import quote, urlencode

from zaffre.asgi.exchange import Send, send_whole
from zaffre.server.admin import Handler
from zaffre.server.request import Request

OWN_HEADERS = (b"origin",)
"""What this process answers itself: who may read it from a web page."""


class Answered(Protocol):
    """What the process that has the platform has answered."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All headers that are for the client."""

    @property
    def body(self) -> bytes:
        """The whole body."""


Forward = Callable[[str, str, Iterable[tuple[bytes, bytes]], bytes], Awaitable[Answered]]
"""Has a request answered by the process that has the platform: method, path with query, headers and
body. Raises `ZaffreError`."""


class ForwardedPlatform:
    """Stands where the platform's routes would be. Whoever answers them finds out again who calls:
    the client's own headers go along."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def find(self, _request: Request) -> Handler:
        """What answers."""
        return self.replicas

    async def replicas(self, request: Request, body: bytes, send: Send) -> None:
        """Answer any request of the platform's."""
        headers = [one for one in request.headers.items() if one[0] not in OWN_HEADERS]
        target = quote(request.path) + "?" * bool(request.query)
        target += urlencode(request.query, doseq=True)
        answered = await self._forward(request.method, target, headers, body)
        await send_whole(send, answered.status, answered.headers, answered.body)
