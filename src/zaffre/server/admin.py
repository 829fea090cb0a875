"""The admin API: endpoints, deployments and replicas, under /admin and for admin keys alone."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from zaffre.asgi.exchange import JSON, Send, send_whole
from zaffre.core.errors import InvalidParameter, MethodNotAllowed, NotFound
from zaffre.server.admin_shapes import (
    AnyEndpoint,
    Documents,
    Done,
    LogLines,
    Replicas,
    ShownDeployment,
    ShownEndpoint,
    TrafficChange,
    WhatWasApplied,
)
from zaffre.server.request import Request
from zaffre.service.platform import Platform
from zaffre.wire import codec

ADMIN = "/admin/"
DEFAULT_LOG_LINES = 50
MAX_LOG_LINES = 999_999
Names = tuple[str, ...]
Handler = Callable[[Request, bytes, Send], Coroutine[Any, Any, None]]


class Parameter(Struct, frozen=True):
    """Something that a route takes in its query."""

    name: str
    kind: object
    """Its type, with bounds and description in a `Meta`."""


class Row(Struct, frozen=True):
    """One route of the admin API."""

    method: str
    path: str
    """Behind /admin/, with names in braces."""
    summary: str
    handler: "Callable[[AdminRoutes, Names, Request, bytes], Coroutine[Any, Any, object]]"
    answer: object
    """Type of what it answers."""
    body: type | None = None
    query: tuple[Parameter, ...] = ()


_KIND = Parameter(
    "kind",
    Annotated[
        str,
        Meta(
            description="Of which kind.",
            extra_json_schema={"enum": ["managed", "serverless"], "default": "managed"},
        ),
    ],
)
_LINES = Parameter(
    "lines",
    Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_LOG_LINES,
            description="How many of the last.",
            extra_json_schema={"default": DEFAULT_LOG_LINES},
        ),
    ],
)
_ENDPOINT, _OWN = "endpoints/{endpoint}", "endpoints/{endpoint}/deployments"
_ROOT = "deployments"
_NAMED = "{deployment}"


class AdminRoutes:
    """Answers the admin API from one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def find(self, request: Request) -> Handler:
        """What answers. Raises `NotFound` or `MethodNotAllowed`."""
        steps = request.path.removeprefix(ADMIN).split("/")
        fitting = [(row, names) for row in self.rows if (names := _names(row, steps)) is not None]
        if not fitting:
            raise NotFound(f"Path {request.path} was not found; /openapi.json lists the paths.")
        for row, names in fitting:
            if row.method == request.method:
                return self._answering(row, names)
        raise MethodNotAllowed(request.method, sorted(row.method for row, _ in fitting))

    def _answering(self, row: Row, names: Names) -> Handler:
        async def answer(request: Request, body: bytes, send: Send) -> None:
            content = await row.handler(self, names, request, body)
            await send_whole(send, 200, [JSON, *request.answer_headers()], codec.encode(content))

        return answer

    async def _apply(self, _names: Names, _request: Request, body: bytes) -> object:
        return await self._platform.apply(codec.decode(body, Documents).documents)

    async def _reload(self, _names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.reload()
        return Done()

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
        return Done()

    async def _deployments(self, names: Names, _request: Request, _body: bytes) -> object:
        return self._platform.deployments(names[0] if names else None)

    async def _deployment(self, names: Names, _request: Request, _body: bytes) -> object:
        return self._platform.show_deployment(*_place(names))

    async def _delete_deployment(self, names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.delete_deployment(*_place(names))
        return Done()

    async def _logs(self, names: Names, request: Request, _body: bytes) -> object:
        asked = request.parameter("lines") or str(DEFAULT_LOG_LINES)
        number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= 6 else 0
        if number == 0:
            raise InvalidParameter(("lines",), asked, "'lines' is a whole number from 1.")
        return LogLines(self._platform.logs(*_place(names))[-number:])

    async def _replicas(self, _names: Names, _request: Request, _body: bytes) -> object:
        return Replicas(await self._platform.replicas())

    rows: ClassVar[tuple[Row, ...]] = (
        Row(
            "POST",
            "documents",
            "Create or replace what documents declare, all or nothing",
            _apply,
            WhatWasApplied,
            body=Documents,
        ),
        Row("POST", "reload", "Read the server's files again", _reload, Done),
        Row("GET", "endpoints", "All endpoints", _endpoints, list[AnyEndpoint], query=(_KIND,)),
        Row("GET", _ENDPOINT, "One endpoint", _endpoint, AnyEndpoint),
        Row(
            "PATCH",
            _ENDPOINT,
            "Other shares of traffic",
            _set_traffic,
            ShownEndpoint,
            body=TrafficChange,
        ),
        Row("DELETE", _ENDPOINT, "Remove an endpoint", _delete_endpoint, Done),
        Row("GET", _OWN, "All deployments of an endpoint", _deployments, list[ShownDeployment]),
        Row("GET", f"{_OWN}/{_NAMED}", "One deployment", _deployment, ShownDeployment),
        Row(
            "DELETE",
            f"{_OWN}/{_NAMED}",
            "Remove a deployment without traffic",
            _delete_deployment,
            Done,
        ),
        Row(
            "GET",
            f"{_OWN}/{_NAMED}/logs",
            "The last lines that a deployment's workers wrote",
            _logs,
            LogLines,
            query=(_LINES,),
        ),
        Row("GET", _ROOT, "All deployments outside endpoints", _deployments, list[ShownDeployment]),
        Row(
            "GET",
            f"{_ROOT}/{_NAMED}",
            "One deployment outside endpoints",
            _deployment,
            ShownDeployment,
        ),
        Row(
            "DELETE",
            f"{_ROOT}/{_NAMED}",
            "Remove a deployment outside endpoints",
            _delete_deployment,
            Done,
        ),
        Row(
            "GET",
            f"{_ROOT}/{_NAMED}/logs",
            "The last lines that its workers wrote",
            _logs,
            LogLines,
            query=(_LINES,),
        ),
        Row("GET", "replicas", "All replicas, and how they are", _replicas, Replicas),
    )


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
