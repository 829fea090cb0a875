"""The admin API: endpoints, deployments and replicas, under /admin and for admin keys alone."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from msgspec import Meta, Struct

from zaffre.asgi.exchange import JSON, Send, send_whole
from zaffre.core.errors import InvalidParameter, MethodNotAllowed, NotFound
from zaffre.server.request import Request
from zaffre.service.platform import Platform
from zaffre.wire import codec

ADMIN = "/admin/"
DEFAULT_LOG_LINES = 50
MAX_DOCUMENTS = 256
Shares = dict[str, Annotated[int, Meta(ge=0, le=100)]]
Names = tuple[str, ...]
Handler = Callable[[Request, bytes, Send], Coroutine[Any, Any, None]]
NamedHandler = Callable[[Names, Request, bytes], Coroutine[Any, Any, object]]


class Documents(Struct, frozen=True, forbid_unknown_fields=True):
    """POST /admin/documents: what to create or replace, in Azure's form or our own."""

    documents: Annotated[list[Any], Meta(max_length=MAX_DOCUMENTS)]


class TrafficChange(Struct, frozen=True, forbid_unknown_fields=True):
    """PATCH /admin/endpoints/{endpoint}: other shares; what is absent stays."""

    traffic: Shares | None = None
    mirror_traffic: Shares | None = None


class Row(Struct, frozen=True):
    """One route of the admin API."""

    method: str
    path: str
    """Behind /admin/, with names in braces."""
    summary: str
    handler: NamedHandler
    body: type | None = None


class AdminRoutes:
    """Answers the admin API from one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        one, logs = "endpoints/{endpoint}/deployments/{deployment}", "deployments/{deployment}"
        self.rows = (
            Row("POST", "documents", "Create or replace, all or nothing", self._apply, Documents),
            Row("POST", "reload", "Read the server's files again", self._reload),
            Row("GET", "endpoints", "All endpoints; ?kind=managed|serverless", self._endpoints),
            Row("GET", "endpoints/{endpoint}", "One endpoint", self._endpoint),
            Row(
                "PATCH",
                "endpoints/{endpoint}",
                "Other shares of traffic",
                self._set_traffic,
                TrafficChange,
            ),
            Row("DELETE", "endpoints/{endpoint}", "Remove an endpoint", self._delete_endpoint),
            Row(
                "GET",
                "endpoints/{endpoint}/deployments",
                "All deployments of an endpoint",
                self._deployments,
            ),
            Row("GET", one, "One deployment", self._deployment),
            Row("DELETE", one, "Remove a deployment without traffic", self._delete_deployment),
            Row("GET", f"{one}/logs", "The last lines of its workers; ?lines=50", self._logs),
            Row("GET", "deployments", "All deployments outside endpoints", self._deployments),
            Row("GET", logs, "One deployment outside endpoints", self._deployment),
            Row("DELETE", logs, "Remove a deployment", self._delete_deployment),
            Row("GET", f"{logs}/logs", "The last lines of its workers", self._logs),
            Row("GET", "replicas", "All replicas, and how they are", self._replicas),
        )

    def find(self, request: Request) -> Handler:
        """What answers. Raises `NotFound` or `MethodNotAllowed`."""
        steps = request.path.removeprefix(ADMIN).split("/")
        fitting = [(row, names) for row in self.rows if (names := _names(row, steps)) is not None]
        if not fitting:
            raise NotFound(f"Path {request.path} was not found; /openapi.json lists the paths.")
        for row, names in fitting:
            if row.method == request.method:
                return _answering(row, names)
        raise MethodNotAllowed(request.method, sorted(row.method for row, _ in fitting))

    async def _apply(self, _names: Names, _request: Request, body: bytes) -> object:
        return await self._platform.apply(codec.decode(body, Documents).documents)

    async def _reload(self, _names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.reload()
        return {}

    async def _endpoints(self, _names: Names, request: Request, _body: bytes) -> object:
        kind = request.parameter("kind") or "managed"
        if kind not in ("managed", "serverless"):
            raise InvalidParameter(("kind",), kind, "'kind' is managed or serverless.")
        return self._platform.endpoints(kind)

    async def _endpoint(self, names: Names, _request: Request, _body: bytes) -> object:
        return self._platform.show_endpoint(names[0])

    async def _set_traffic(self, names: Names, _request: Request, body: bytes) -> object:
        change = codec.decode(body, TrafficChange)
        return await self._platform.set_traffic(names[0], change.traffic, change.mirror_traffic)

    async def _delete_endpoint(self, names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.delete_endpoint(names[0])
        return {}

    async def _deployments(self, names: Names, _request: Request, _body: bytes) -> object:
        return self._platform.deployments(names[0] if names else None)

    async def _deployment(self, names: Names, _request: Request, _body: bytes) -> object:
        return self._platform.show_deployment(*_place(names))

    async def _delete_deployment(self, names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.delete_deployment(*_place(names))
        return {}

    async def _logs(self, names: Names, request: Request, _body: bytes) -> object:
        asked = request.parameter("lines") or str(DEFAULT_LOG_LINES)
        if not asked.isdecimal() or len(asked) > 6 or int(asked) == 0:
            raise InvalidParameter(("lines",), asked, "'lines' is a whole number from 1.")
        return {"lines": self._platform.logs(*_place(names))[-int(asked) :]}

    async def _replicas(self, _names: Names, _request: Request, _body: bytes) -> object:
        return {"replicas": await self._platform.replicas()}


def _names(row: Row, steps: list[str]) -> Names | None:
    """The names that a path gives to the braces of a row; None when it is another path."""
    wanted = row.path.split("/")
    if len(wanted) != len(steps):
        return None
    pairs = list(zip(wanted, steps, strict=True))
    if any(step != want for want, step in pairs if not want.startswith("{")):
        return None
    return tuple(step for want, step in pairs if want.startswith("{"))


def _place(names: Names) -> tuple[str | None, str]:
    """Endpoint and deployment; at the root there is no endpoint."""
    return (names[0], names[1]) if len(names) == 2 else (None, names[0])


def _answering(row: Row, names: Names) -> Handler:
    async def answer(request: Request, body: bytes, send: Send) -> None:
        content = await row.handler(names, request, body)
        await send_whole(send, 200, [JSON, *request.answer_headers()], codec.encode(content))

    return answer
