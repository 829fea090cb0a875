"""Forwarding: what the first process is asked for the administrator, and what comes back."""

from collections.abc import Iterable

from in_process import Exchange, OpenDoor
from msgspec import Struct

from zaffre.routing.table import Table
from zaffre.server.app import GatewayApp, Options
from zaffre.server.forwarding import ForwardedPlatform
from zaffre.service.gateway import Gateway


class Answer(Struct):
    """What the first process answers."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class First:
    """Keeps what it is asked."""

    async def forward(
        self, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        self.asked = (method, target, dict(headers), body)
        return Answer(201, [(b"x-request-id", b"its own")], b'{"done":true}')


async def asked(method: str, target: str, *pieces: bytes) -> tuple[First, Exchange]:
    first, exchange = First(), Exchange(method, target, *pieces, origin="https://page.example")
    platform = ForwardedPlatform(first.forward)
    options = Options(max_body_bytes=1000, cors_origins=("*",))
    app = GatewayApp(Gateway(Table()), OpenDoor(), platform, options)
    await app(exchange.scope, exchange.receive_whole, exchange.send)
    return first, exchange


async def test_the_whole_request_goes_on_and_the_answer_comes_back():
    first, exchange = await asked("PATCH", "/admin/endpoints/a b?kind=x&kind=y%26z", b"{}")
    headers = {b"api-key": b"a-key"}
    assert first.asked == ("PATCH", "/admin/endpoints/a%20b?kind=x&kind=y%26z", headers, b"{}")
    assert exchange.answer == (201, {"done": True})
    sent = exchange.sent[0]["headers"]
    assert (b"x-request-id", b"its own") in sent
    assert [name for name, _ in sent].count(b"access-control-allow-origin") == 1


async def test_a_body_that_is_too_large_stays_here():
    first, exchange = await asked("POST", "/admin/documents", b"x" * 2000)
    assert exchange.answer[0] == 413
    assert not hasattr(first, "asked")


async def test_the_replicas_path_outside_the_admin_api_goes_on_too():
    first, _ = await asked("GET", "/health/replicas", b"")
    assert first.asked[:2] == ("GET", "/health/replicas")
