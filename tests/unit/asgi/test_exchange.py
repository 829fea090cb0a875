"""One exchange: bodies within bounds, exact answers, and an end when the client goes away."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from loopback import serving

from zaffre.asgi.exchange import (
    EVENT_STREAM,
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Message,
    Receive,
    Scope,
    Send,
    read_body,
    run_until_disconnect,
    send_stream,
    send_whole,
)

GONE: Message = {"type": "http.disconnect"}
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def arriving(*messages: Message) -> Receive:
    queue = list(messages)

    async def receive() -> Message:
        if queue:
            return queue.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


class Sent:
    """What was sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)


async def test_a_body_is_put_together():
    assert await read_body(arriving(part(b"ab"), part(b""), part(b"c", more=False)), 3) == b"abc"
    assert await read_body(arriving({"type": "http.request"}), 0) == b""


async def test_a_body_above_the_limit_is_not_read_on():
    with pytest.raises(BodyTooLargeError):
        await read_body(arriving(part(b"ab"), part(b"cd")), 3)


async def test_a_body_that_breaks_off_is_none():
    with pytest.raises(ClientDisconnectedError):
        await read_body(arriving(part(b"ab"), GONE), 9)


async def test_an_answer_that_is_whole_says_its_length():
    sent = Sent()
    await send_whole(sent, 418, [JSON], b"tea")
    assert sent.messages == [
        {
            "type": "http.response.start",
            "status": 418,
            "headers": [JSON, (b"content-length", b"3")],
        },
        {"type": "http.response.body", "body": b"tea"},
    ]


async def test_work_ends_when_the_client_goes_and_cleans_up_before_that_is_told():
    trace: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            trace.append("cleaned up")

    with pytest.raises(ClientDisconnectedError):
        await run_until_disconnect(arriving(part(b""), GONE), work())
    assert trace == ["cleaned up"]


async def test_work_that_is_done_is_not_disturbed():
    trace: list[str] = []

    async def work() -> None:
        trace.append("done")

    await run_until_disconnect(arriving(), work())
    assert trace == ["done"]


async def test_what_work_raises_is_raised():
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_until_disconnect(arriving(), work())


async def test_what_is_left_after_the_answer_is_not_disturbed():
    """Given an answer that is sent whole, when the client leaves, then accounts are settled."""
    left, settled = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        left.set()
        return GONE

    async def work() -> None:
        await left.wait()
        await asyncio.sleep(0)
        settled.set()

    await run_until_disconnect(receive, work(), lambda: True)
    assert settled.is_set()


async def test_who_cancels_the_whole_cancels_the_work():
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    whole = asyncio.ensure_future(run_until_disconnect(arriving(), work()))
    await begun.wait()
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert ended.is_set()


async def say(*frames: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for frame in frames:
        if isinstance(frame, Exception):
            raise frame
        yield frame


async def test_a_stream_is_sent_frame_by_frame():
    sent = Sent()
    await send_stream(sent, [EVENT_STREAM], say(b"a", b"b"))
    start, *bodies = sent.messages
    assert start == {"type": "http.response.start", "status": 200, "headers": [EVENT_STREAM]}
    assert [(m["body"], m.get("more_body", False)) for m in bodies] == [
        (b"a", True),
        (b"b", True),
        (b"", False),
    ]


async def test_nothing_is_sent_of_a_stream_that_fails_before_its_first_frame():
    sent = Sent()
    with pytest.raises(KeyError):
        await send_stream(sent, [], say(KeyError()))
    assert sent.messages == []


async def test_a_stream_that_fails_later_is_left_without_its_end():
    sent = Sent()
    with pytest.raises(KeyError):
        await send_stream(sent, [], say(b"a", KeyError()))
    assert [message.get("body") for message in sent.messages] == [None, b"a"]


@pytest.mark.parametrize("told", [False, True])
async def test_over_a_connection_a_client_sees_that_it_was_cut_off(told: bool):
    """uvicorn ends the connection of an application that returns without its last message."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 0)
        frames = say(b"data: a\n\n", KeyError() if told else b"data: b\n\n")
        try:
            await send_stream(send, [EVENT_STREAM], frames)
        except KeyError:
            await send({"type": "http.response.body", "body": b"error", "more_body": True})

    async with serving(application) as server, server.connected() as wire:
        await wire.send(GET)
        if told:
            raw = await wire.read_to_end()
            assert raw.endswith(b"5\r\nerror\r\n")
        else:
            raw = await wire.read_until(b"0\r\n\r\n")
            assert b"9\r\ndata: b\n\n\r\n" in raw


async def test_over_a_connection_a_client_that_goes_ends_the_work():
    ended, begun = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def application(scope: Scope, receive: Receive, send: Send) -> Any:
        await read_body(receive, 0)
        try:
            await run_until_disconnect(receive, work())
        except ClientDisconnectedError:
            return

    async with serving(application) as server:
        async with server.connected() as wire:
            await wire.send(GET)
            await begun.wait()
        await asyncio.wait_for(ended.wait(), 20)
