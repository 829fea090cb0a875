"""The admin API, under /admin: endpoints, deployments and replicas, keys and tokens, and usage.

A permission bounded to some endpoints is enough for the routes whose path names one of them. What
may name anything in its body, or is about the whole server, needs one without bounds.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar, cast, get_args

from msgspec import Meta, Struct

from zaffre.asgi.exchange import JSON, Send, send_whole
from zaffre.auth import policy
from zaffre.auth.keybook import KeyFacts
from zaffre.auth.policy import Place
from zaffre.core.errors import InvalidParameter, MethodNotAllowed, NotFound
from zaffre.core.metering import UsageGroup, UsageQuery, UsageSum
from zaffre.core.principals import Permission, Principal
from zaffre.metering.sums import read_first_day
from zaffre.server.admin_shapes import (
    AnyCredentials,
    AnyEndpoint,
    Documents,
    Done,
    KeyWanted,
    LogLines,
    MadeKey,
    RenewedKey,
    Replicas,
    ShownDeployment,
    ShownEndpoint,
    ShownToken,
    SlotWanted,
    TokenWanted,
    TrafficChange,
    WhatWasApplied,
    made_key,
    shown_credentials,
)
from zaffre.server.request import Request
from zaffre.service.platform import Platform
from zaffre.wire import codec

ADMIN = "/admin/"
DEFAULT_LOG_LINES = 50
MAX_LOG_LINES = 999_999
DEFAULT_SINCE = "30d"
_PERMISSIONS: tuple[Permission, ...] = ("admin", "read_usage")
"""With any of them, one route or another can be used."""
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
    permission: Permission = "admin"
    """Asked of the endpoint or deployment that the path names, else of the whole server."""
    within_bounds: bool = False
    """The path names neither, and whoever has the permission anywhere is shown its part."""
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
_BY = Parameter(
    "by",
    Annotated[
        UsageGroup, Meta(description="Summed up by what.", extra_json_schema={"default": "key"})
    ],
)
_SINCE = Parameter(
    "since",
    Annotated[
        str,
        Meta(
            description="First day, UTC: 2026-11-01, or 7d for seven days back.",
            extra_json_schema={"default": DEFAULT_SINCE},
        ),
    ],
)
_MIRRORED = Parameter(
    "mirrored",
    Annotated[
        bool,
        Meta(
            description="Mirrored requests instead of the clients' own.",
            extra_json_schema={"default": False},
        ),
    ],
)
_ENDPOINT, _OWN = "endpoints/{endpoint}", "endpoints/{endpoint}/deployments"
_ROOT = "deployments"
_NAMED = "{deployment}"
_KEY = "keys/{key}"
"""A key's name or id."""


class AdminRoutes:
    """Answers the admin API from one platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def find(self, request: Request) -> Handler:
        """What answers. Raises `PermissionDenied`, `NotFound` or `MethodNotAllowed`."""
        if not any(policy.holds(request.principal, wanted) for wanted in _PERMISSIONS):
            policy.check_holds(request.principal, "admin")  # the routes are not everybody's to know
        steps = request.path.removeprefix(ADMIN).split("/")
        fitting = [(row, names) for row in self.rows if (names := _names(row, steps)) is not None]
        if not fitting:
            raise NotFound(f"Path {request.path} was not found; /openapi.json lists the paths.")
        for row, names in fitting:
            if row.method == request.method:
                check_row(request.principal, row, names)
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
        return [
            shown
            for shown in self._platform.endpoints(kind)
            if policy.may(request.principal, "admin", _place(shown["name"]))
        ]

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
        return self._platform.show_deployment(*_pair(names))

    async def _delete_deployment(self, names: Names, _request: Request, _body: bytes) -> object:
        await self._platform.delete_deployment(*_pair(names))
        return Done()

    async def _logs(self, names: Names, request: Request, _body: bytes) -> object:
        asked = request.parameter("lines") or str(DEFAULT_LOG_LINES)
        number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= 6 else 0
        if number == 0:
            raise InvalidParameter(("lines",), asked, "'lines' is a whole number from 1.")
        return LogLines(self._platform.logs(*_pair(names))[-number:])

    async def _replicas(self, _names: Names, _request: Request, _body: bytes) -> object:
        return Replicas(await self._platform.replicas())

    async def replicas(self, request: Request, _body: bytes, send: Send) -> None:
        """Answer with all replicas; this route has a second path, outside /admin."""
        content = codec.encode(Replicas(await self._platform.replicas()))
        await send_whole(send, 200, [JSON, *request.answer_headers()], content)

    async def _credentials(self, names: Names, request: Request, _body: bytes) -> object:
        endpoint = self._platform.endpoint(names[0])
        found = await self._platform.credentials.of_endpoint(endpoint, request.principal)
        return shown_credentials(found)

    async def _renew(self, names: Names, request: Request, body: bytes) -> object:
        slot = codec.decode(body, SlotWanted).key_type
        endpoint = self._platform.endpoint(names[0])
        made = await self._platform.credentials.renew(endpoint, slot, request.principal)
        return RenewedKey(slot, made)

    async def _issue_token(self, names: Names, request: Request, body: bytes) -> object:
        wanted = codec.decode(body, TokenWanted) if body else TokenWanted()
        endpoint = self._platform.endpoint(names[0])
        return shown_credentials(
            await self._platform.credentials.issue_token(
                endpoint, request.principal, wanted.lifetime_s
            )
        )

    async def _keys(self, _names: Names, request: Request, _body: bytes) -> object:
        return await self._platform.credentials.listed(request.principal)

    async def _create_key(self, _names: Names, request: Request, body: bytes) -> object:
        wanted = codec.decode(body, KeyWanted)
        made = await self._platform.credentials.create(
            wanted.name, wanted.grant(), request.principal, expires_at=wanted.expires_at
        )
        return made_key(made)

    async def _rotate_key(self, names: Names, request: Request, _body: bytes) -> object:
        return made_key(await self._platform.credentials.rotate(names[0], request.principal))

    async def _revoke_key(self, names: Names, request: Request, _body: bytes) -> object:
        return await self._platform.credentials.revoke(names[0], request.principal)

    async def _usage(self, _names: Names, request: Request, _body: bytes) -> object:
        return await self._platform.usage(_usage_query(request))

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
        Row(
            "GET",
            "endpoints",
            "All endpoints",
            _endpoints,
            list[AnyEndpoint],
            query=(_KIND,),
            within_bounds=True,
        ),
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
        Row(
            "GET",
            f"{_ENDPOINT}/keys",
            "What an endpoint's callers show: what is known of its keys, or a new token",
            _credentials,
            AnyCredentials,
        ),
        Row(
            "POST",
            f"{_ENDPOINT}/keys",
            "A new key in place of one, shown this once; where tokens count, all of them end",
            _renew,
            RenewedKey,
            body=SlotWanted,
        ),
        Row(
            "POST",
            f"{_ENDPOINT}/token",
            "A short-lived token for an endpoint whose auth_mode is aml_token",
            _issue_token,
            ShownToken,
            body=TokenWanted,
        ),
        Row("GET", "keys", "All keys", _keys, list[KeyFacts], within_bounds=True),
        Row(
            "POST",
            "keys",
            "A new key, shown this once",
            _create_key,
            MadeKey,
            within_bounds=True,
            body=KeyWanted,
        ),
        Row(
            "POST",
            f"{_KEY}/rotate",
            "A new key in place of one, which ends at once",
            _rotate_key,
            MadeKey,
            within_bounds=True,
        ),
        Row(
            "DELETE",
            _KEY,
            "End a key, at once and for good",
            _revoke_key,
            KeyFacts,
            within_bounds=True,
        ),
        Row(
            "GET",
            "usage",
            "What was used, and what that costs",
            _usage,
            list[UsageSum],
            permission="read_usage",
            query=(_BY, _SINCE, _MIRRORED),
        ),
        Row("GET", "replicas", "All replicas, and how they are", _replicas, Replicas),
    )


def check_row(principal: Principal, row: Row, names: Names) -> None:
    """Raises `PermissionDenied` for who may not use `row` with these names.

    It says nothing about whether there is anything of these names.
    """
    if row.within_bounds:
        policy.check_holds(principal, row.permission)
    elif row.path.startswith(_ENDPOINT):
        policy.check(principal, row.permission, _place(names[0]))
    elif row.path.startswith(f"{_ROOT}/"):
        policy.check(principal, row.permission, _place(None, names[0]))
    else:
        policy.check(principal, row.permission)


def _place(endpoint: str | None, deployment: str = "") -> Place:
    """An endpoint with all in it, or a deployment at the root, whatever its models are: who is
    bounded to some models administers neither."""
    return Place(endpoint=endpoint, deployment=deployment, model="")


def _usage_query(request: Request) -> UsageQuery:
    by = request.parameter("by") or "key"
    if by not in get_args(UsageGroup):
        raise InvalidParameter(("by",), by, "'by' is key, model, endpoint or day.")
    mirrored = request.parameter("mirrored") or "false"
    if mirrored not in ("true", "false"):
        raise InvalidParameter(("mirrored",), mirrored, "'mirrored' is true or false.")
    since = request.parameter("since") or DEFAULT_SINCE
    try:
        first_day = read_first_day(since)
    except ValueError as wrong:
        raise InvalidParameter(("since",), since, f"'since' {wrong}") from None
    return UsageQuery(cast("UsageGroup", by), since_day=first_day, mirrored=mirrored == "true")


def _names(row: Row, steps: list[str]) -> Names | None:
    """The names that a path gives to the braces of a row; None when it is another path."""
    wanted = row.path.split("/")
    if len(wanted) != len(steps):
        return None
    pairs = list(zip(wanted, steps, strict=True))
    if any(step != want for want, step in pairs if not want.startswith("{")):
        return None
    return tuple(step for want, step in pairs if want.startswith("{"))


def _pair(names: Names) -> tuple[str | None, str]:
    """Endpoint and deployment; at the root there is no endpoint."""
    return (names[0], names[1]) if len(names) == 2 else (None, names[0])
