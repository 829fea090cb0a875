"""The HTTP server under gateway and worker: uvicorn, with bounds it lacks and an orderly end."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers together; the largest that Azure's gateways take is 32 KiB."""
HEAD_TIMEOUT_S = 30.0
"""From the first moment of a connection to the end of its first request's headers."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's fast protocol bounds neither the size of headers nor the wait for them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers are complete."""
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self._head_complete:
            self.send_400_response("The headers are too large.")
            return
        super().data_received(data)

    _head_complete = False

    def on_message_begin(self) -> None:
        """A new request: count anew."""
        self._head_complete, self._head_bytes = False, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The rest is body, which the application bounds."""
        self._head_complete = True
        self._head_timer.cancel()
        super().on_headers_complete()


class HttpServer(uvicorn.Server):
    """Tells when it listens, and returns after a stop signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then tell the port (0 for a Unix socket)."""
        await super().startup(sockets)
        names = [s.getsockname() for server in self.servers for s in server.sockets]
        ports = [name[1] for name in names if isinstance(name, tuple)]
        self._on_listening(ports[0] if ports else 0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM; whoever runs this server has more to close after it."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


def event_loop() -> asyncio.AbstractEventLoop:
    """A new loop of the fastest kind that is installed."""
    factory = uvicorn.Config("", log_config=None).get_loop_factory()
    return factory() if factory else asyncio.new_event_loop()


def server_config(app: object, **options: Any) -> uvicorn.Config:  # noqa: ANN401 - uvicorn's own
    """What gateway and worker have in common."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=BoundedHttpProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        **options,
    )
