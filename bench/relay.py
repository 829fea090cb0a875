"""The least that any relay in Python does: bytes from one connection to another, without HTTP.

python -m bench.relay PORT UPSTREAM_PORT      what is left of its cost is the operating system's
"""

import asyncio
import sys

import uvloop


class Outward(asyncio.Protocol):
    """The connection to the upstream."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._client.write(data)


class Inward(asyncio.Protocol):
    """The connection from a client."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._upstream: asyncio.Transport | None = None
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._client = transport
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        self._upstream, _ = await asyncio.get_running_loop().create_connection(
            lambda: Outward(self._client),  # type: ignore[arg-type] # uvloop's own class
            "127.0.0.1",
            self._upstream_port,
        )
        if self._waiting:
            self._upstream.write(self._waiting)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._upstream is None:
            self._waiting += data
        else:
            self._upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._upstream is not None:
            self._upstream.close()


async def main(port: int, upstream_port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Inward(upstream_port), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
