"""The HTTP protocol under gateway and worker: uvicorn's fast one, with bounds and manners it lacks.

- The head of a request, and the framing around its body, are bounded in size and time.
- What cannot become a request is answered in JSON, not in plain text.
- One request at a time: bytes that follow a request before its answer are not read, and the
  connection ends after that answer, so that a client's leaving is always seen at once.
- `Upgrade` is declined as HTTP has it, by going on without: Java's own client asks for `h2c` with
  its first request, and uvicorn would lose that request's body.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from zaffre.asgi.exchange import Message, Watchful
from zaffre.wire import codec

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; the largest that Azure's gateways take is 32 KiB."""
MAX_FRAMING = 16
"""Bytes of chunk heads and trailers per byte of body, beyond `MAX_HEAD_BYTES`."""
HEAD_TIMEOUT_S = 30.0
"""From the first byte of a request (or of the connection) to the end of its headers; also for the
rest of a body that was answered before it was there."""
LINGER_S = 2.0
"""How long a refused client may still send, so that it gets to read the refusal."""
_CONTINUE = b"HTTP/1.1 100 "
_NOT_PASSED_ON = (b"upgrade", b"http2-settings")
log = logging.getLogger("zaffre.asgi")


class RefusedError(Exception):
    """Bytes that do not become a request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class PipelinedError(Exception):
    """A request that came before the one before it was answered."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    max_head_bytes = MAX_HEAD_BYTES
    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **options)
        # uvicorn's answer to one connection too many is plain text, without Retry-After.
        self._max_connections, self.limit_concurrency = self.limit_concurrency, None
        self._deadline: asyncio.TimerHandle | None = None
        self._deaf = False
        self._arrivals: _Arrivals | None = None
        self._in_head = self._unfinished = False
        self._piece = self._received = self._body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._close_in(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._no_deadline()
        super().connection_lost(exc)
        if self._arrivals is not None:
            self._arrivals.end()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is more than it may be."""
        if self._deaf:
            return
        if self._answering:
            self._stop_listening()
            return
        self._unset_keepalive_if_required()
        self._piece = len(data)
        self._received += self._piece
        self._feed(data)
        most = self.max_head_bytes + (1 + MAX_FRAMING) * self._body
        if self._unfinished and self._received > most and not self._deaf:
            self._refuse(_head_too_large())

    def on_message_begin(self) -> None:
        """Count anew, from the piece that the request begins with."""
        if self.cycle is not None and not self.cycle.response_complete:
            raise PipelinedError
        self._in_head = self._unfinished = True
        self._received, self._body = self._piece, 0
        if self._deadline is None:
            self._close_in(self.head_timeout_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come after the head, are dropped."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, if it may come in."""
        self._no_deadline()
        self._in_head = False
        if self.parser.should_upgrade():
            return
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > self.max_head_bytes:
            raise _head_too_large()
        if self._max_connections is not None and len(self.connections) > self._max_connections:
            raise RefusedError(503, "too_many_connections", "Too many connections. Please retry.")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count and pass on."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; if it was answered long since, the connection is idle now."""
        if self.parser.should_upgrade():
            return
        self._unfinished = False
        super().on_message_complete()
        if self.cycle.response_complete:
            self._no_deadline()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """The answer is sent; what is still to come of the request may not take forever."""
        super().on_response_complete()
        if self.cycle.more_body:
            self._close_in(self.head_timeout_s)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        """Have `app` called with what it may ask of the connection besides ASGI."""
        arrivals = self._arrivals = _Arrivals(cycle)
        if cycle.scope["method"] != "HEAD":
            cycle.transport = _HeldHead(self.transport)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, lambda scope, _, send: app(scope, arrivals, send))

    @property
    def _answering(self) -> bool:
        """Whether a request is whole and its answer is not."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self._answering:
                self._stop_listening()
            elif isinstance(error.__context__, RefusedError):
                self._refuse(error.__context__)
            else:
                self._refuse(RefusedError(400, "invalid_request", "This is not valid HTTP/1.1."))

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the head again without what asks for another protocol, then the rest."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(RefusedError(400, "invalid_request", "This server is not a proxy."))
            return
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                value = b", ".join(o for o in options if o.lower() not in _NOT_PASSED_ON)  # noqa: PLW2901
            if name not in _NOT_PASSED_ON:
                lines.append(b"%s: %s" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._feed(b"\r\n".join([*lines, b"", b""]) + rest)

    def _stop_listening(self) -> None:
        """Let the answer under way be this connection's last."""
        self._deaf = True
        self.cycle.keep_alive = False

    def _refuse(self, refusal: RefusedError) -> None:
        """Say why, unless an answer has begun, and end the connection when that can be read."""
        log.debug("refused: %s", refusal.message)
        self._deaf = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if self._arrivals is not None:
                self._arrivals.end()
        if self._in_head or cycle is None or not cycle.response_started:
            self.transport.write(_refusal_bytes(refusal))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._close_in(LINGER_S)
        else:
            self.transport.close()

    def _close_in(self, delay_s: float) -> None:
        self._no_deadline()
        self._deadline = self.loop.call_later(delay_s, self.transport.close)

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Arrivals(Watchful):
    """What comes from the client of one request."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._tell: Callable[[], None] | None = None

    def __call__(self) -> Awaitable[Message]:
        return self._cycle.receive()  # type: ignore[return-value] # uvicorn's own types for it

    @property
    def has_all(self) -> bool:
        """Whether the whole body is there."""
        return not self._cycle.more_body

    def when_gone(self, tell: Callable[[], None] | None) -> None:
        """Call `tell` when the client goes away."""
        self._tell = tell
        if tell is None:
            return
        self._cycle.flow.resume_reading()  # who does not read does not see the end either
        if self._cycle.disconnected:
            self.end()

    def end(self) -> None:
        """The client is gone."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()


class _HeldHead:
    """A connection that sends the head of one answer together with the first piece of its body."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._begun = False
        self.is_closing = transport.is_closing

    def write(self, content: bytes) -> None:
        """Send `content`; a head waits. uvicorn writes it in one piece, and then the body."""
        if self._begun:
            self._transport.write(content)
        elif self._head is not None:
            self._begun = True
            self._transport.write(self._head + content)
        elif content.startswith(_CONTINUE):
            self._transport.write(content)
        else:
            self._head = content

    def close(self) -> None:
        """Send what waits, and close."""
        if self._head is not None and not self._begun:
            self.write(b"")
        self._transport.close()


def _head_too_large() -> RefusedError:
    return RefusedError(431, "request_headers_too_large", "The headers are too large.")


def _refusal_bytes(refusal: RefusedError) -> bytes:
    """A whole response. There is no path yet, so no dialect: this is what all of them share."""
    status, code, message = refusal.status, refusal.code, refusal.message
    error = {"code": code, "message": message, "status": status}
    body = codec.encode({"error": error, "status": status, "code": code, "message": message})
    headers = [
        b"content-type: application/json",
        b"x-ms-error-code: " + code.encode(),
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    if status == 503:
        headers.append(b"retry-after: 1")
    return STATUS_LINE[status] + b"\r\n".join([*headers, b"", body])
