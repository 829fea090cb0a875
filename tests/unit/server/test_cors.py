"""Cross-origin requests: silence by default, and no more than is configured."""

from in_process import CHAT, Exchange, app, speaking

from zaffre.core.deltas import Finish, TextDelta, Usage

GATEWAY = speaking(TextDelta("hi"), Finish("stop"), Usage(1, 1))
PAGE = "https://page.example"


async def headers(exchange: Exchange, *origins: str) -> dict[bytes, bytes]:
    application = app(GATEWAY, cors_origins=origins)
    await application(exchange.scope, exchange.receive_whole, exchange.send)
    return dict(exchange.sent[0]["headers"])


async def test_without_origins_nothing_is_said():
    found = await headers(Exchange("POST", "/chat/completions", CHAT, origin=PAGE))
    assert not [name for name in found if name.startswith(b"access-control")]


async def test_a_configured_origin_may_read_answers_and_refusals():
    for exchange in (
        Exchange("POST", "/chat/completions", CHAT, origin=PAGE),
        Exchange("POST", "/chat/completions", b"{", origin=PAGE),
    ):
        found = await headers(exchange, PAGE)
        assert found[b"access-control-allow-origin"] == PAGE.encode()


async def test_another_origin_may_not():
    found = await headers(Exchange("GET", "/info", b"", origin="https://other.example"), PAGE)
    assert b"access-control-allow-origin" not in found


async def test_a_preflight_is_answered_without_a_key():
    asked = Exchange(
        "OPTIONS",
        "/chat/completions",
        origin=PAGE,
        access_control_request_method="POST",
        access_control_request_headers="api-key, content-type",
    )
    found = await headers(asked, "*")
    assert asked.sent[0]["status"] == 204
    assert found[b"access-control-allow-origin"] == b"*"
    assert found[b"access-control-allow-headers"] == b"api-key, content-type"
