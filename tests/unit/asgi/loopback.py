"""A server in this process, on a loopback port: in-process transports do not stream."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from zaffre.asgi.protocol import BoundedHttpProtocol
from zaffre.asgi.serving import HttpServer, server_config

LIMIT_S = 20


class Wire:
    """One bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def read_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await self._reader.readuntil(end)

    async def read_to_end(self) -> bytes:
        """What is still to come until the server ends the connection."""
        async with asyncio.timeout(LIMIT_S):
            return await self._reader.read()


class Loopback:
    """A listening server."""

    def __init__(self, port: int) -> None:
        self.port = port

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def talk(self, content: bytes) -> bytes:
        async with self.connected() as wire:
            await wire.send(content)
            return await wire.read_to_end()


@contextlib.asynccontextmanager
async def serving(
    app: object, protocol: type[BoundedHttpProtocol] = BoundedHttpProtocol, **options: Any
) -> AsyncIterator[Loopback]:
    """Serve `app` until the block ends."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    listener = socket.create_server(("127.0.0.1", 0))
    config: uvicorn.Config = server_config(app, timeout_graceful_shutdown=1, **options)
    config.http_protocol_class = protocol
    config.http = protocol
    server = HttpServer(config, listening.set_result)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield Loopback(await asyncio.wait_for(listening, LIMIT_S))
    finally:
        server.should_exit = True
        await task
