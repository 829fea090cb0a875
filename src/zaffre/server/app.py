"""The gateway's ASGI application: routes top to bottom, who may enter, and the error fence."""

import asyncio
import logging
import uuid
from collections.abc import Iterable
from typing import Protocol

from msgspec import structs

from zaffre.asgi.exchange import (
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    read_body,
    run_until_disconnect,
    send_whole,
)
from zaffre.auth import policy
from zaffre.core.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    ZaffreError,
)
from zaffre.core.principals import Principal
from zaffre.server.admin import ADMIN, AdminRoutes
from zaffre.server.dialects.common import ErrorStyle
from zaffre.server.openapi import make_document
from zaffre.server.request import Request, read_request
from zaffre.server.routes import Handler, Routes
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.wire import codec

BODY_TIMEOUT_S = 60.0
"""For a whole request body; 32 MiB take 6 s at 50 Mbit/s."""
ENDPOINTS = "/endpoints/"
log = logging.getLogger("zaffre.server")


class Doorkeeper(Protocol):
    """Knows the callers."""

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whoever shows a valid credential. Raises `Unauthenticated`."""


class GatewayApp:
    """The ASGI application over one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        door: Doorkeeper,
        *,
        platform: Platform,
        max_body_bytes: int,
        strict_versions: bool = False,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._gateway = gateway
        self._door = door
        self._platform = platform
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._routes = Routes(gateway, strict_versions=strict_versions)
        self._admin = AdminRoutes(platform)
        self._own: dict[str, Handler] = {
            "/health/replicas": self._replicas,
            "/openapi.json": self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Whatever goes wrong leaves in the dialect's own form."""
        if scope["type"] != "http":
            return
        request, conflict = self._scoped(read_request(scope, str(uuid.uuid4())))
        answer = _Answer(send, request, self._routes.style(request))
        try:
            handle, request = await self._find(request, scope, conflict)
            body = await self._read_body(request, receive)
            await run_until_disconnect(receive, handle(request, body, answer.send))
        except ClientDisconnectedError:
            log.info("%s %s %r: the client went away", request.id, request.method, request.path)
        except ZaffreError as error:
            await answer.fail(error)
        except codec.MalformedError as malformed:
            await answer.fail(
                InvalidRequest(malformed.message, malformed.location, malformed.value)
            )
        except Exception:  # the fence: no bug of ours may leak a traceback or close in silence
            log.exception("%s %s %r", request.id, request.method, request.path)
            await answer.fail(
                ZaffreError(f"Internal error; the server's log has it as {request.id}.")
            )

    def _scoped(self, request: Request) -> tuple[Request, ZaffreError | None]:
        """The request with its endpoint, where path or host name have one; or why it cannot be."""
        host = (request.header(b"host") or "").partition(":")[0]
        endpoint = self._gateway.table.endpoint_of_host(host) if host else None
        if not request.path.startswith(ENDPOINTS):
            return structs.replace(request, endpoint=endpoint), None
        name, _, rest = request.path.removeprefix(ENDPOINTS).partition("/")
        if endpoint is not None and endpoint.lower() != name.lower():
            conflict = InvalidRequest(f"Host '{host}' is endpoint '{endpoint}', the path another.")
            return request, conflict
        return structs.replace(request, endpoint=name, path=f"/{rest}"), None

    async def _find(
        self, request: Request, scope: Scope, conflict: ZaffreError | None
    ) -> tuple[Handler, Request]:
        if request.path == "/health":  # open: load balancers have no key, and some ask with HEAD
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed(request.method, ["GET", "HEAD"])
            return self._health, request
        # First who calls, then what: strangers learn nothing about the routes.
        principal = await self._door.identify(scope["headers"])
        if conflict is not None:
            raise conflict
        request = structs.replace(request, principal=principal)
        if request.path.startswith(ADMIN):
            policy.check(principal, "admin")
            return self._admin.find(request), request
        own = self._own.get(request.path)
        if own is None:
            return self._routes.find(request)
        if request.method != "GET":
            raise MethodNotAllowed(request.method, ["GET"])
        return own, request

    async def _read_body(self, request: Request, receive: Receive) -> bytes:
        if request.header(b"content-encoding") not in (None, "identity"):
            raise InvalidRequest("Compressed request bodies are not supported.")
        length = request.header(b"content-length") or "0"
        try:
            if length.isdecimal() and int(length) > self._max_body_bytes:
                raise BodyTooLargeError
            async with asyncio.timeout(self._body_timeout_s):
                return await read_body(receive, self._max_body_bytes)
        except BodyTooLargeError:
            raise BodyTooLarge(f"The body is larger than {self._max_body_bytes} bytes.") from None
        except TimeoutError:
            waited = f"{self._body_timeout_s:g} s"
            raise InvalidRequest(f"The body did not come within {waited}.") from None

    async def _health(self, request: Request, _body: bytes, send: Send) -> None:
        await send_whole(send, 200, [JSON, *request.answer_headers()], b'{"status":"ok"}')

    async def _replicas(self, request: Request, _body: bytes, send: Send) -> None:
        policy.check(request.principal, "admin")
        body = codec.encode({"replicas": await self._platform.replicas()})
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    async def _openapi(self, request: Request, _body: bytes, send: Send) -> None:
        listed = self._gateway.listed(request.context(""), request.endpoint)
        body = codec.encode(make_document(listed))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)


class _Answer:
    """Whether an answer has begun decides what can still be said about an error."""

    def __init__(self, send: Send, request: Request, style: ErrorStyle) -> None:
        self._send = send
        self._request = request
        self._style = style
        self._started = False
        self._events = 0
        """Of a stream, sent so far."""

    async def send(self, message: Message) -> None:
        self._started = True
        self._events += message["type"] == "http.response.body"
        await self._send(message)

    async def fail(self, error: ZaffreError) -> None:
        """An error body; in mid-stream an event, then an end that no client takes for whole.

        Returning without the last empty body makes uvicorn close the connection with the chunked
        body unfinished.
        """
        if self._started:
            log.warning("%s cut off in mid-stream: %s", self._request.id, error.message)
            event = self._style.render_event(error, self._events)
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            return
        status, headers, body = self._style.render(error)
        common = self._request.answer_headers()
        await send_whole(self._send, status, [JSON, *headers, *common], body)
