"""The other gateway processes on the port: started, asked on a socket of their own, and stopped."""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from msgspec import structs

from zaffre.asgi.serving import HttpServer, server_config
from zaffre.boot import Given, RunningGateway, SiblingGiven
from zaffre.registry.launcher import SocketFolder
from zaffre.server.app import GatewayApp
from zaffre.service.siblings.control import ControlApp
from zaffre.service.siblings.keeping import SiblingKeeper
from zaffre.wire import codec

COMMAND = (sys.executable, "-m", "zaffre.cli.sibling")
KEEP_ALIVE_S = 3600
"""Siblings' connections are their own and stay open between requests."""
END_S = 1
"""How long a question of a sibling that is gone may keep the control socket."""


class FirstServer(HttpServer):
    """Serves the port, and stops its siblings while it drains itself."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_listening: Callable[[int], None],
        others: "OtherGateways",
    ) -> None:
        super().__init__(config, on_listening)
        self._others = others

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Let requests in flight end everywhere."""
        await asyncio.gather(super().shutdown(sockets), self._others.stop())


class OtherGateways:
    """All gateway processes but the first. With `gateways` at 1, there are none, and no socket."""

    def __init__(
        self, given: Given, running: RunningGateway, app: GatewayApp, listener: socket.socket
    ) -> None:
        self._given = given
        self._secret = secrets.token_urlsafe(32)
        self._listener = listener
        self._sockets: SocketFolder | None = None
        self._control = ControlApp(
            running.fleet, running.leader, running.find_own, app, self._secret
        )
        self._keepers = [
            SiblingKeeper(
                number,
                COMMAND,
                listener=listener,
                tell=self._told,
                on_ended=running.leader.forget,
            )
            for number in range(2, given.settings.whole("gateways") + 1)
        ]
        self._serving: asyncio.Task[None] | None = None
        self._server: HttpServer | None = None
        self._path = ""

    def start(self) -> None:
        """Start them; returns at once."""
        if not self._keepers:
            return
        self._sockets = SocketFolder()
        self._path = self._sockets.new()
        config = server_config(
            self._control,
            uds=self._path,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=END_S,
        )
        self._server = _SecondServer(config, self._on_control)
        self._serving = asyncio.get_running_loop().create_task(self._server.serve())

    async def tried(self) -> None:
        """Wait until each listens, or could not once."""
        await asyncio.gather(*(keeper.tried() for keeper in self._keepers))

    async def stop(self) -> None:
        """Let their requests in flight end, within a bound. May be called twice."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))

    async def aclose(self) -> None:
        """Stop them, and answer nobody any more."""
        await self.stop()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._serving
        if self._sockets is not None:
            self._sockets.remove()

    def _on_control(self, _port: int) -> None:
        for keeper in self._keepers:
            keeper.start()

    def _told(self, name: str) -> bytes:
        given = self._given
        return codec.encode(
            SiblingGiven(
                name=name,
                settings=given.settings,
                home=str(given.store.home),
                start=structs.replace(given.declared.start, settings={}),
                keys=given.keys,
                listener_fd=self._listener.fileno(),
                control=self._path,
                secret=self._secret,
                parent_pid=os.getpid(),
            )
        )


class _SecondServer(HttpServer):
    """A server beside another one, whose signals are not its business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield
