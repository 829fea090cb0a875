"""An issuer on a loopback port that can change its key, fall silent, and count who asks it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from zaffre.asgi.exchange import Receive, Scope, Send, send_whole
from zaffre.asgi.serving import HttpServer, server_config
from zaffre.config.auth_section import IssuerDeclaration, RuleDeclaration
from zaffre.devissuer.app import Client, DevIssuer
from zaffre.devissuer.signing import SigningKey

LIMIT_S = 20
TENANT = "contoso"
AUDIENCE = "https://ml.azure.com"
CLIENT = Client("app-1", "secret-1", ("call",))


def declared(of: "TestedIssuer", **changes: Any) -> IssuerDeclaration:
    """An issuer as a configuration names it."""
    rules = (RuleDeclaration(roles=("call",)),)
    fields = {"name": "test", "issuer": of.address, "tenants": (TENANT,), "rules": rules}
    return IssuerDeclaration(**{**fields, **changes})


class TestedIssuer:
    """The development issuer, under control."""

    __test__ = False

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.app = DevIssuer(base_url, CLIENT)
        self.asked: list[str] = []
        """Paths, in the order of their requests."""
        self.silent = False
        self._asked = asyncio.Event()

    @property
    def address(self) -> str:
        """What its tokens have as `iss`."""
        return self.app.issuer(TENANT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        self._asked.set()
        if self.silent:
            await send_whole(send, 503, [], b"")
        else:
            await self.app(scope, receive, send)

    async def wait_until_asked(self, path: str, times: int) -> None:
        """Until `path` was asked for that many times."""
        async with asyncio.timeout(LIMIT_S):
            while self.asked.count(path) < times:
                self._asked.clear()
                await self._asked.wait()

    def change_key(self) -> None:
        """From now on it signs with another key, and publishes that one alone."""
        self.app.key = SigningKey()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token, changed; None takes one away."""
        now = int(time.time())
        good = {
            "iss": self.address,
            "aud": AUDIENCE,
            "tid": TENANT,
            "sub": "user-1",
            "azp": "app-1",
            "roles": ["call"],
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
        }
        changed = {**good, **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def token(self, **changes: Any) -> str:
        """A token that the issuer has signed, with these claims changed."""
        return self.app.key.sign(self.claims(**changes))


@contextlib.asynccontextmanager
async def serving(app: object, **options: Any) -> AsyncIterator[int]:
    """Serve `app` on a loopback port until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    async with serving_on(listener, app, **options) as port:
        yield port


@contextlib.asynccontextmanager
async def serving_on(listener: socket.socket, app: object, **options: Any) -> AsyncIterator[int]:
    """As `serving`, on a socket that is bound already."""
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    config = server_config(app, timeout_graceful_shutdown=1, **options)
    server = HttpServer(config, listening.set_result)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        yield await asyncio.wait_for(listening, LIMIT_S)
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def issuing() -> AsyncIterator[TestedIssuer]:
    """An issuer that listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    issuer = TestedIssuer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    async with serving_on(listener, issuer):
        yield issuer
