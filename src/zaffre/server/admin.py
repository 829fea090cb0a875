"""The admin API: endpoints, deployments and replicas, under /admin and for admin keys alone."""

from collections.abc import Callable, Coroutine
from typing import Any

from zaffre.asgi.exchange import JSON, Send, send_whole
from zaffre.core.errors import MethodNotAllowed, NotFound
from zaffre.server.request import Request
from zaffre.service.platform import Platform
from zaffre.wire import codec

ADMIN = "/admin/"
Handler = Callable[[Request, bytes, Send], Coroutine[Any, Any, None]]


class AdminRoutes:
    """Answers the admin API from one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._routes: dict[str, dict[str, Handler]] = {
            "replicas": {"GET": self._replicas},
        }

    def find(self, request: Request) -> Handler:
        """What answers. Raises `NotFound` or `MethodNotAllowed`."""
        methods = self._routes.get(request.path.removeprefix(ADMIN))
        if methods is None:
            raise NotFound(f"Path {request.path} was not found; /openapi.json lists the paths.")
        handler = methods.get(request.method)
        if handler is None:
            raise MethodNotAllowed(request.method, sorted(methods))
        return handler

    async def _replicas(self, request: Request, _body: bytes, send: Send) -> None:
        await _answer(send, request, {"replicas": await self._platform.replicas()})


async def _answer(send: Send, request: Request, content: object, status: int = 200) -> None:
    await send_whole(send, status, [JSON, *request.answer_headers()], codec.encode(content))
