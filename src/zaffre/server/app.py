"""The gateway's ASGI application: routes top to bottom, who may enter, and the error fence."""

import logging
import time
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct, structs

from zaffre.asgi.exchange import (
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    read_body_within,
    run_until_disconnect,
    send_whole,
)
from zaffre.auth import policy
from zaffre.core.accounts import GONE
from zaffre.core.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    ZaffreError,
)
from zaffre.core.ids import new_uuid
from zaffre.core.metering import RateLimits
from zaffre.core.principals import Permission, Principal
from zaffre.server.access_log import AccessLog, line_of
from zaffre.server.admin import ADMIN, AdminRoutes
from zaffre.server.cors import Cors
from zaffre.server.dialects.common import ErrorStyle
from zaffre.server.forwarding import ForwardedPlatform
from zaffre.server.openapi import make_document
from zaffre.server.request import Request, read_request
from zaffre.server.routes import Handler, Routes
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.wire import codec, sse

BODY_TIMEOUT_S = 60.0
"""For a whole request body; 32 MiB take 6 s at 50 Mbit/s."""
ENDPOINTS = "/endpoints/"
MODEL_ROUTES_NEED: Permission = "call"
"""Of whoever asks anything of the dialects. What it may ask of which model is asked of the route
that the request gets."""
log = logging.getLogger("zaffre.server")


class Doorkeeper(Protocol):
    """Knows the callers."""

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whoever shows a valid credential. Raises `Unauthenticated`."""


class OwnRoute(Struct, frozen=True):
    """A route of no dialect, read with GET."""

    permission: Permission | None
    """Asked of the whole server. None: it is for everybody with a valid credential."""
    handler: Handler


class Options(Struct, frozen=True, kw_only=True):
    """Bounds and habits of the application."""

    max_body_bytes: int
    body_timeout_s: float = BODY_TIMEOUT_S
    strict_versions: bool = False
    cors_origins: tuple[str, ...] = ()


class GatewayApp:
    """The ASGI application over one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        door: Doorkeeper,
        platform: Platform | ForwardedPlatform,
        options: Options,
        access_log: AccessLog | None = None,
    ) -> None:
        self._gateway = gateway
        self._door = door
        self._options = options
        self._access_log = access_log
        self._cors = Cors(options.cors_origins)
        self._routes = Routes(gateway, strict_versions=options.strict_versions)
        self._admin = platform if isinstance(platform, ForwardedPlatform) else AdminRoutes(platform)
        self._own = {
            "/health/replicas": OwnRoute("admin", self._admin.replicas),
            "/openapi.json": OwnRoute(None, self._openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Whatever goes wrong leaves in the dialect's own form."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        request_id = new_uuid()
        account = self._gateway.new_account(request_id)
        request, conflict = self._scoped(read_request(scope, request_id, account))
        answer = _Answer(send, request, self._routes.style(request), self._cors.headers(request))
        if self._cors.is_preflight(request):
            await self._cors.answer(request, send)
            return
        try:
            handle, request = await self._find(request, scope, conflict)
            body = await self._read_body(request, receive)
            if request.method == "POST" and not request.path.startswith(ADMIN):
                account.expect(request.principal, bytes_in=len(body))
            work = handle(request, body, answer.send)
            await run_until_disconnect(receive, work, answer.is_whole)
        except ClientDisconnectedError:
            log.info("%s %s %r: the client went away", request.id, request.method, request.path)
            await answer.gone()
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
        finally:
            if self._access_log is not None:
                self._access_log.put(line_of(request, answer.status, answer.size, began))

    def _scoped(self, request: Request) -> tuple[Request, ZaffreError | None]:
        """The request with its endpoint, where path or host name have one; or why it cannot be."""
        host = (request.header(b"host") or "").partition(":")[0]
        endpoint = self._gateway.table.endpoint_of_host(host) if host else None
        if not request.path.startswith(ENDPOINTS):
            # By the name that the caller has said: its own it may not know.
            return structs.replace(request, endpoint=endpoint and host), None
        name, _, rest = request.path.removeprefix(ENDPOINTS).partition("/")
        if endpoint is not None and endpoint.lower() != name.lower():
            # The host's endpoint may be one that the caller must not know by name.
            conflict = InvalidRequest(f"Host '{host}' is one endpoint, the path names another.")
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
        if request.path.startswith(ADMIN) and request.endpoint is None:
            return self._admin.find(request), request
        own = self._own.get(request.path) if request.endpoint is None else None
        if own is None:
            policy.check_holds(principal, MODEL_ROUTES_NEED)
            return self._routes.find(request)
        if own.permission is not None:
            policy.check(principal, own.permission)
        if request.method != "GET":
            raise MethodNotAllowed(request.method, ["GET"])
        return own.handler, request

    async def _read_body(self, request: Request, receive: Receive) -> bytes:
        if request.header(b"content-encoding") not in (None, "identity"):
            raise InvalidRequest("Compressed request bodies are not supported.")
        length = request.header(b"content-length") or "0"
        try:
            if length.isdecimal() and int(length) > self._options.max_body_bytes:
                raise BodyTooLargeError
            return await read_body_within(
                receive, self._options.max_body_bytes, self._options.body_timeout_s
            )
        except BodyTooLargeError:
            raise BodyTooLarge(
                f"The body is larger than {self._options.max_body_bytes} bytes."
            ) from None
        except TimeoutError:
            waited = f"{self._options.body_timeout_s:g} s"
            raise InvalidRequest(f"The body did not come within {waited}.") from None

    async def _health(self, request: Request, _body: bytes, send: Send) -> None:
        await send_whole(send, 200, [JSON, *request.answer_headers()], b'{"status":"ok"}')

    async def _openapi(self, request: Request, _body: bytes, send: Send) -> None:
        listed = self._gateway.listed(request.context(""), request.endpoint)
        body = codec.encode(make_document(listed))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)


class _Answer:
    """Sends one answer and closes its account before the client can take the answer for whole."""

    def __init__(
        self, send: Send, request: Request, style: ErrorStyle, common: list[tuple[bytes, bytes]]
    ) -> None:
        self._send = send
        self._request = request
        self._style = style
        self._common = common
        """Headers of whatever is answered."""
        self._status: int | None = None
        self._bytes = 0
        self._whole = False
        self._events = 0
        """Of a stream, so far."""

    async def send(self, message: Message) -> None:
        """Pass `message` on; an answer whose cost is known is in the ledger first."""
        account = self._request.account
        if message["type"] == "http.response.start":
            started = message["status"]
            message = {**message, "headers": [*message["headers"], *self._further_headers()]}
        else:
            started, body = self._status, message.get("body", b"")
            whole = not message.get("more_body", False)
            self._bytes += len(body)
            if whole or account.complete:
                await account.close(started, self._bytes)
            self._whole = whole
            self._events += body.count(sse.BOUNDARY)
        await self._send(message)
        self._status = started

    def is_whole(self) -> bool:
        """Whether all of the answer is sent."""
        return self._whole

    async def gone(self) -> None:
        """The client has left; what it used stays in the ledger."""
        try:
            await self._request.account.close(None, self._bytes)
        except ZaffreError as error:
            log.warning("%s is not in the ledger: %s", self._request.id, error.message)

    async def fail(self, error: ZaffreError) -> None:
        """An error body; in mid-stream an event, then an end that no client takes for whole.

        Returning without the last empty body makes uvicorn close the connection with the chunked
        body unfinished.
        """
        if self._status is not None:
            log.warning("%s cut off in mid-stream: %s", self._request.id, error.message)
            event = self._style.render_event(error, self._events)
            await self.gone()
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            return
        status, headers, body = self._style.render(error)
        self._status = status
        await self._close_refused(status, len(body))
        common = [*self._request.answer_headers(), *self._further_headers()]
        self._bytes = len(body)
        await send_whole(self._send, status, [JSON, *headers, *common], body)

    @property
    def status(self) -> int:
        """What the client got; as if it had gone away when it got nothing."""
        return GONE if self._status is None else self._status

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._bytes

    def _further_headers(self) -> list[tuple[bytes, bytes]]:
        account = self._request.account
        headers = list(self._common)
        if account.rates is not None:
            headers += rates(account.rates)
        if account.screened:
            headers.append((b"x-ms-rai-invoked", b"true"))
        return headers

    async def _close_refused(self, status: int, size: int) -> None:
        try:
            await self._request.account.close(status, size)
        except ZaffreError as trouble:  # the client is told of its own trouble, not of this one
            log.warning("%s is not in the ledger: %s", self._request.id, trouble.message)


def rates(left: RateLimits) -> list[tuple[bytes, bytes]]:
    """What is left of the caller's limits per minute (contract, section 8.3)."""
    rows = (
        (b"x-ratelimit-limit-requests", left.limit_requests),
        (b"x-ratelimit-remaining-requests", left.remaining_requests),
        (b"x-ratelimit-reset-requests", left.reset_requests_s),
        (b"x-ratelimit-limit-tokens", left.limit_tokens),
        (b"x-ratelimit-remaining-tokens", left.remaining_tokens),
        (b"x-ratelimit-reset-tokens", left.reset_tokens_s),
    )
    return [(name, str(value).encode()) for name, value in rows if value is not None]
