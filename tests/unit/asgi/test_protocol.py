"""The HTTP protocol: bounds in size and time, and its manners, on a real connection."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from loopback import Loopback, serving

from zaffre.asgi.exchange import Message, Receive, Scope, Send, read_body, send_whole
from zaffre.asgi.protocol import BoundedHttpProtocol

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class HastyProtocol(BoundedHttpProtocol):
    """As the real one, with less patience."""

    head_timeout_s = 0.05


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Say what came: path, number of headers, body."""
    if scope["path"] == "/early":
        await send_whole(send, 401, [], b"who?")
        return
    body = await read_body(receive, 10_000_000)
    if scope["path"] == "/bug":
        raise ZeroDivisionError
    said = f"{scope['path']} {len(scope['headers'])} ".encode() + body
    await send_whole(send, 200, [], said)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Loopback]:
    async with serving(echo) as loopback:
        yield loopback


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[Loopback]:
    async with serving(echo, HastyProtocol) as loopback:
        yield loopback


def refusal(raw: bytes, status: int, code: str) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), raw
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    assert json.loads(body)["error"]["code"] == json.loads(body)["code"] == code
    assert (b"retry-after: 1" in head) == (status == 503)


@pytest.mark.parametrize("sent", [b"", b"GET /a HT", b"GET /a HTTP/1.1\r\nHost:", GET[:-2]])
async def test_a_head_that_does_not_come_is_not_waited_for(hasty: Loopback, sent: bytes):
    async with hasty.connected() as wire:
        await wire.send(sent)
        assert await wire.read_to_end() == b""


async def test_nor_is_that_of_a_second_request(hasty: Loopback):
    async with hasty.connected() as wire:
        await wire.send(GET)
        await wire.read_until(b"/a 1 ")
        await wire.send(GET[:-2])
        assert await wire.read_to_end() == b""


async def test_a_body_that_was_answered_early_is_not_waited_for(hasty: Loopback):
    async with hasty.connected() as wire:
        await wire.send(b"POST /early HTTP/1.1\r\nContent-Length: 10\r\n\r\n123")
        await wire.read_until(b"who?")
        await wire.send(b"4")
        assert await wire.read_to_end() == b""


async def test_a_body_that_was_answered_early_may_still_come(server: Loopback):
    """A client that sends all before it reads must not lose its connection, nor its answer."""
    body = b"x" * 3_000_000
    async with server.connected() as wire:
        for _ in range(2):
            head = f"POST /early HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            await wire.send(head.encode() + body)
            await wire.read_until(b"who?")
        await wire.send(GET)
        await wire.read_until(b"/a 1 ")


async def test_a_large_body_may_come_with_its_head(server: Loopback):
    body = b"x" * 1_000_000
    head = f"POST /a HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    raw = await server.talk(head.encode() + body)
    assert raw.endswith(b"/a 2 " + body)


@pytest.mark.parametrize("size", [60_000, 65_000, 70_000, 300_000, 3_000_000])
async def test_a_head_is_bounded_whether_it_ends_or_not(server: Loopback, size: int):
    whole = b"GET /a HTTP/1.1\r\nConnection: close\r\nx: " + b"a" * size + b"\r\n\r\n"
    for sent in (whole, whole[:-2]) if size > 65_536 else (whole,):
        async with server.connected() as wire:
            with contextlib.suppress(ConnectionError):
                await wire.send(sent)
            raw = await wire.read_to_end()
        if size < 65_536:
            assert raw.endswith(b"/a 2 ")
        else:
            refusal(raw, 431, "request_headers_too_large")


async def test_one_connection_too_many_is_told_to_come_again():
    async with (
        serving(echo, limit_concurrency=2) as server,
        server.connected() as first,
        server.connected() as second,
    ):
        for wire in (first, second):
            await wire.send(GET)
            await wire.read_until(b"/a 1 ")
        refusal(await server.talk(LAST), 503, "too_many_connections")
        await first.send(GET)
        await first.read_until(b"/a 1 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh",
    ],
)
async def test_what_is_not_http_is_refused_in_json(server: Loopback, sent: bytes):
    refusal(await server.talk(sent), 400, "invalid_request")


async def test_what_breaks_off_in_a_later_piece_is_refused_as_well(server: Loopback):
    async with server.connected() as wire:
        await wire.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await wire.send(b"nonsense\r\n")
        refusal(await wire.read_to_end(), 400, "invalid_request")


async def test_an_answer_that_has_begun_is_not_followed_by_a_refusal(server: Loopback):
    async with server.connected() as wire:
        await wire.send(b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await wire.read_until(b"who?")
        await wire.send(b"nonsense\r\n")
        assert await wire.read_to_end() == b""


async def test_of_pipelined_requests_the_first_is_answered(server: Loopback):
    for rest in (GET, GET * 1000, b"nonsense", b"\r\n\r\n\x00"):
        raw = await server.talk(GET + rest)
        assert raw.count(b"HTTP/1.1 200") == 1
        assert b"connection: close" in raw
        assert raw.endswith(b"/a 1 ")


async def test_who_leaves_is_missed_even_with_more_requests_under_way():
    left = asyncio.Event()
    begun = asyncio.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        message: Message = await receive()
        assert message["type"] == "http.disconnect"
        left.set()

    async with serving(hang) as server:
        async with server.connected() as wire:
            await wire.send(GET)
            await begun.wait()
            await wire.send(GET * 100)
        await asyncio.wait_for(left.wait(), 20)


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"anything"])
async def test_an_upgrade_is_declined(server: Loopback, upgrade: bytes):
    head = (
        b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: " + upgrade + b"\r\nHTTP2-Settings: AAM\r\nContent-Length: 5\r\n\r\n"
    )
    async with server.connected() as wire:
        for _ in range(2):
            await wire.send(head)
            await wire.send(b"hello")
            await wire.read_until(b"/a 3 hello")
        await wire.send(head.replace(b"/a", b"/b") + b"hello")
        await wire.read_until(b"/b 3 hello")


async def test_trailers_are_dropped(server: Loopback):
    chunked = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    raw = await server.talk(chunked + b"2;x=y\r\nhi\r\n0\r\nx: 1\r\ny: 2\r\n\r\n")
    assert raw.endswith(b"/a 2 hi")


async def test_what_surrounds_a_body_is_bounded(server: Loopback):
    async with server.connected() as wire:
        await wire.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ")
        await wire.send(b"a" * 200_000)
        refusal(await wire.read_to_end(), 431, "request_headers_too_large")


async def test_a_body_in_the_smallest_pieces_is_taken(server: Loopback):
    body = b"x" * 50_000
    chunked = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    raw = await server.talk(chunked + b"1\r\nx\r\n" * len(body) + b"0\r\n\r\n")
    assert raw.endswith(b"/a 2 " + body)
