"""The HTTP server under gateway and worker: uvicorn, with an orderly end."""

import asyncio
import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from zaffre.asgi.protocol import BoundedHttpProtocol

YOUNG_OBJECTS = 20_000
"""New objects between two looks for garbage, as many as some 60 requests at a time hold. Python's
own 700 looks through all of them several times per request: a third of the time of a full gateway,
and pauses of 50 ms."""


class HttpServer(uvicorn.Server):
    """Tells when it listens, and returns after a stop signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, then tell the port (0 for a Unix socket)."""
        await super().startup(sockets)
        gc.freeze()  # modules and what else is there by now stay: nobody looks through them again
        gc.set_threshold(YOUNG_OBJECTS)
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
