"""The gateway's ASGI application: routes top to bottom, who may enter, and the error fence."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

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
from zaffre.auth.keys import KeyChain
from zaffre.core.errors import (
    BodyTooLarge,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    ZaffreError,
)
from zaffre.server.dialects import azure_errors
from zaffre.server.dialects.azure_inference import MOUNTS, AzureInference
from zaffre.server.openapi import make_document
from zaffre.server.request import Request, read_request
from zaffre.service.gateway import Gateway
from zaffre.wire import codec, sse

BODY_TIMEOUT_S = 60.0
"""For a whole request body; 32 MiB take 6 s at 50 Mbit/s."""
Handler = Callable[[Request, bytes, Send], Coroutine[Any, Any, None]]
log = logging.getLogger("zaffre.server")


class GatewayApp:
    """The ASGI application over one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        keys: KeyChain,
        *,
        max_body_bytes: int,
        strict_versions: bool = False,
    ) -> None:
        self._gateway = gateway
        self._keys = keys
        self._max_body_bytes = max_body_bytes
        azure = AzureInference(gateway, strict_versions=strict_versions)
        self._open: dict[str, dict[str, Handler]] = {"/health": {"GET": self._health}}
        self._routes: dict[str, dict[str, Handler]] = {
            "/health/replicas": {"GET": self._replicas},
            "/openapi.json": {"GET": self._openapi},
            "/models": {"GET": azure.models},
            "/v1/models": {"GET": azure.models},
            "/api/models": {"GET": azure.models},
        }
        for mount in MOUNTS:
            self._routes |= {
                f"{mount}/chat/completions": {"POST": azure.chat},
                f"{mount}/completions": {"POST": azure.complete},
                f"{mount}/embeddings": {"POST": azure.embed},
                f"{mount}/images/embeddings": {"POST": azure.embed_images},
                f"{mount}/info": {"GET": azure.info},
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Whatever goes wrong leaves in the dialect's own form."""
        if scope["type"] != "http":
            return
        request = read_request(scope, str(uuid.uuid4()))
        answer = _Answer(send, request)
        try:
            handle = self._handler(request, scope)
            body = await self._read_body(request, receive)
            await run_until_disconnect(receive, handle(request, body, answer.send))
        except ClientDisconnectedError:
            log.info("%s %s %s: the client went away", request.id, request.method, request.path)
        except ZaffreError as error:
            await answer.fail(error)
        except codec.MalformedError as malformed:
            await answer.fail(InvalidRequest(malformed.message, malformed.location))
        except Exception:  # the fence: no bug of ours may leak a traceback or close in silence
            log.exception("%s %s %s", request.id, request.method, request.path)
            await answer.fail(
                ZaffreError(f"Internal error; the server's log has it as {request.id}.")
            )

    def _handler(self, request: Request, scope: Scope) -> Handler:
        methods = self._open.get(request.path)
        if methods is None:
            # First who calls, then what: strangers learn nothing about the routes.
            self._keys.identify(scope["headers"])
            methods = self._routes.get(request.path)
        if methods is None:
            raise NotFound(_not_found_text(request.path, self._routes))
        if request.method not in methods:
            raise MethodNotAllowed(request.method, sorted(methods))
        return methods[request.method]

    async def _read_body(self, request: Request, receive: Receive) -> bytes:
        if request.header(b"content-encoding") not in (None, "identity"):
            raise InvalidRequest("Compressed request bodies are not supported.")
        length = request.header(b"content-length") or "0"
        try:
            if length.isdecimal() and int(length) > self._max_body_bytes:
                raise BodyTooLargeError
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await read_body(receive, self._max_body_bytes)
        except BodyTooLargeError:
            raise BodyTooLarge(f"The body is larger than {self._max_body_bytes} bytes.") from None
        except TimeoutError:
            raise InvalidRequest(f"The body did not come within {BODY_TIMEOUT_S:g} s.") from None

    async def _health(self, request: Request, _body: bytes, send: Send) -> None:
        await send_whole(send, 200, [JSON, *request.answer_headers()], b'{"status":"ok"}')

    async def _replicas(self, request: Request, _body: bytes, send: Send) -> None:
        statuses = await self._gateway.statuses()
        body = codec.encode({"replicas": statuses})
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    async def _openapi(self, request: Request, _body: bytes, send: Send) -> None:
        body = codec.encode(make_document(self._gateway.table))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)


class _Answer:
    """Whether an answer has begun decides what can still be said about an error."""

    def __init__(self, send: Send, request: Request) -> None:
        self._send = send
        self._request = request
        self._started = False

    async def send(self, message: Message) -> None:
        self._started = True
        await self._send(message)

    async def fail(self, error: ZaffreError) -> None:
        """An error body; in mid-stream an event, then an end that no client takes for whole.

        Returning without the last empty body makes uvicorn close the connection with the chunked
        body unfinished.
        """
        if self._started:
            log.warning("%s cut off in mid-stream: %s", self._request.id, error.message)
            event = sse.frame(azure_errors.render_event(error))
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            return
        status, headers, body = azure_errors.render(error)
        common = self._request.answer_headers()
        await send_whole(self._send, status, [JSON, *headers, *common], body)


def _not_found_text(path: str, routes: dict[str, dict[str, Handler]]) -> str:
    suffixes = [r for r in routes if r.count("/") <= 2 and path.endswith(r)]
    if suffixes:
        best = max(suffixes, key=len)
        return f"Path {path} was not found. Use the base URL of this server itself: {best}"
    known = "/chat/completions, /completions, /embeddings, /images/embeddings, /info, /models"
    return f"Path {path} was not found. This server has {known}."
