"""The least that a gateway in Python does: uvicorn in front, aiohttp behind, bytes passed through.

python -m bench.hop PORT UPSTREAM_PORT      no keys, no quotas, no ledger, nothing is parsed
"""

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Message = MutableMapping[str, Any]


class Hop:
    """An ASGI application that passes every request on."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        headers = {"content-type": "application/json"}
        url = self._upstream + scope["path"]
        async with self._session.request(scope["method"], url, data=body, headers=headers) as got:
            kind = got.headers["content-type"].encode()
            start = {"type": "http.response.start", "status": got.status}
            await send({**start, "headers": [(b"content-type", kind)]})
            while piece := await got.content.readany():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Hop(f"http://127.0.0.1:{sys.argv[2]}"),
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        lifespan="off",
    )
