"""Foreign servers that break: no answer of theirs passes for whole, and nobody waits for ever."""

import asyncio
import json
from contextlib import aclosing

import pytest
from fault_server import (
    COUNTED,
    GOOD_ANSWER,
    GOOD_STREAM,
    STREAM_HEAD,
    FaultServer,
    Gate,
    Step,
    Then,
    chat_answer,
    chunk,
    event,
    head,
    refusal,
    said,
    stream,
    whole,
)
from pool_calls import HELLO, Open, chat, cut

from zaffre.core.calls import EmbedCall
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.errors import (
    EngineFailed,
    ModelTimeout,
    ModelUnreachable,
    Overloaded,
    ZaffreError,
)

SOON_S = 0.15
GOOD = [TextDelta("Hi"), Finish("stop"), Usage(5, 2)]
SSE = "text/event-stream"
HTML = b"<!DOCTYPE html><html><body>Sign in, please: 10.1.2.3</body></html>"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", [[Then.STALL], [b"HTTP/1.1 200"], [STREAM_HEAD, Then.STALL]])
async def test_a_stall_before_the_first_byte_ends(
    fault: FaultServer, connect: Open, answer: list[Step], stream: bool
):
    fault.will([*answer, Then.STALL])
    with pytest.raises(ModelTimeout):
        await chat(connect(timeout_s=SOON_S), stream=stream)
    await fault.left.wait()


async def test_a_stall_in_mid_stream_ends(fault: FaultServer, connect: Open):
    fault.will([STREAM_HEAD, event(said("Hi")), Then.STALL])
    came, error = await cut(connect(timeout_s=SOON_S))
    assert came == [TextDelta("Hi")]
    assert type(error) is ModelTimeout


async def test_a_stall_in_a_whole_answer_ends(fault: FaultServer, connect: Open):
    fault.will([head(200, Content_Type="application/json", Content_Length=99), b"{", Then.STALL])
    with pytest.raises(ModelTimeout):
        await chat(connect(timeout_s=SOON_S), stream=False)


async def test_comments_are_no_sign_of_life(fault: FaultServer, connect: Open):
    fault.will([STREAM_HEAD, *[chunk(b": wait\n\n")] * 3, Then.STALL])
    with pytest.raises(ModelTimeout):
        await chat(connect(timeout_s=SOON_S))


@pytest.mark.parametrize(
    "ending",
    [
        [Then.RESET],
        [Then.CLOSE],
        [chunk(b""), Then.CLOSE],  # the body has its proper end, the answer has not
        [event(b"[DONE]") + chunk(b"")],  # no choice has finished
        [event(said(None, "error")), event(b"[DONE]") + chunk(b"")],
        [event({"error": {"message": "out of memory", "code": 500}}), chunk(b"")],
        [event(b'{"choices": [{"index": 0, "delta": {"content"')],
        [event(b"\xff\xfe\x00")],
        [b"zz\r\nnot a chunk\r\n"],
        [event(HTML)],
        [event(said("more", "stop")), event(said("and more"))],
        [event({"choices": [{"index": 7, "delta": {"content": "who?"}}]})],
        [event(said(None, "stop")), Then.CLOSE],  # finished, but the body has no proper end
    ],
    ids=str,
)
async def test_a_stream_that_breaks_off_never_looks_whole(
    fault: FaultServer, connect: Open, ending: list[Step]
):
    gate = Gate()
    fault.will([STREAM_HEAD, event(said("Hi")), gate, *ending])
    came, error = await cut(connect(), gate)
    assert came[0] == TextDelta("Hi")
    assert not any(isinstance(delta, Usage) for delta in came)
    assert type(error) is EngineFailed


async def test_an_end_without_marker_is_whole_when_the_body_is(fault: FaultServer, connect: Open):
    fault.will(stream(said("Hi"), said(None, "stop"), COUNTED, end=[chunk(b"")]))
    assert await chat(connect()) == GOOD


async def test_an_unframed_body_needs_its_marker(fault: FaultServer, connect: Open):
    """HTTP/1.0's way: the body ends where the connection does, so an end proves nothing."""
    events = b"".join(
        b"data: " + json.dumps(body).encode() + b"\n\n"
        for body in (said("Hi"), said(None, "stop"), COUNTED)
    )
    bare = head(200, Content_Type=SSE, Connection="close")
    fault.will([bare, events, Then.CLOSE], [bare, events + b"data: [DONE]\n\n", Then.CLOSE])
    client = connect()
    came, error = await cut(client)
    assert came == GOOD[:2]
    assert type(error) is EngineFailed
    assert await chat(client) == GOOD


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        [Then.RESET],
        [Then.CLOSE],
        [b"\x00\x01\x02 this is no HTTP\r\n\r\n", Then.CLOSE],
        [b"SSH-2.0-OpenSSH_9.2\r\n", Then.CLOSE],
        whole(HTML, content_type="text/html"),
        whole(b"", content_type="application/json"),
        whole(b'{"choices": ', content_type="application/json"),
        whole(b"\xff\xfe", content_type="application/json"),
        whole([1, 2]),
        whole({"choices": []}),
        whole({"choices": "none"}),
        whole({"error": {"message": "it broke"}}),
        whole({"object": "error", "message": "it broke", "code": 500}),
        [head(200, Content_Type="application/json", Content_Length=5000) + b"{}", Then.CLOSE],
        [head(200, Content_Type="application/json", Content_Length=10**12) + b"{}", Then.STALL],
        [head(204)],
        [head(302, Location="http://127.0.0.1:1/", Content_Length=0)],
        whole(HTML, 500, "text/html"),
    ],
    ids=lambda answer: str(answer)[:40],
)
async def test_what_is_no_answer_is_a_failure(
    fault: FaultServer, connect: Open, answer: list[Step], stream: bool
):
    fault.will(answer)
    with pytest.raises(EngineFailed) as raised:
        await chat(connect(), stream=stream)
    assert "<" not in raised.value.message
    assert "10.1.2.3" not in raised.value.message


async def test_a_length_that_is_too_short_spoils_no_other_answer(fault: FaultServer, connect: Open):
    """Given a body longer than announced, when the next call is made, then it has its own."""
    body = json.dumps(chat_answer()).encode()
    lie = head(200, Content_Type="application/json", Content_Length=len(body) - 20)
    fault.will([lie + body], GOOD_ANSWER)
    client = connect()
    with pytest.raises(EngineFailed):
        await chat(client, stream=False)
    assert await chat(client, stream=False) == GOOD


async def test_an_event_without_end_is_given_up(fault: FaultServer, connect: Open):
    piece = chunk(b"x" * 2**20)
    fault.will([STREAM_HEAD, chunk(b"data: "), *[piece] * 33, Then.STALL])
    with pytest.raises(EngineFailed, match="larger"):
        await chat(connect())
    await fault.left.wait()


async def test_an_error_page_without_end_is_not_read_to_its_end(fault: FaultServer, connect: Open):
    endless = head(500, Content_Type="text/html", Transfer_Encoding="chunked")
    fault.will([endless, *[chunk(b"<p>" * 30_000)] * 4, Then.STALL])
    with pytest.raises(EngineFailed, match="status 500"):
        await chat(connect())
    await fault.left.wait()


@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_there_is_told_apart(unused_tcp_port: int, connect: Open, stream: bool):
    with pytest.raises(ModelUnreachable):
        await chat(connect(url=f"http://127.0.0.1:{unused_tcp_port}/v1"), stream=stream)


async def test_a_connection_that_is_never_made_is_given_up(fault: FaultServer, connect: Open):
    """The server waits for a request, the client for the server's part of TLS."""
    client = connect(url=f"https://127.0.0.1:{fault.port}/v1", connect_timeout_s=SOON_S)
    with pytest.raises(ModelUnreachable):
        await chat(client)


async def test_one_call_too_many_is_refused_at_once(fault: FaultServer, connect: Open):
    fault.will([STREAM_HEAD, event(said("Hi")), Then.STALL])
    client = connect(max_calls=1)
    async with aclosing(client.stream(HELLO)) as deltas:
        assert await anext(deltas) == [TextDelta("Hi")]
        with pytest.raises(Overloaded):
            await chat(client)
        with pytest.raises(Overloaded):
            await client.embed(EmbedCall(("a",)))
    await fault.left.wait()
    assert (await client.health()).active == 0


async def test_a_caller_who_leaves_closes_the_connection(fault: FaultServer, connect: Open):
    client = connect()
    gate = Gate()
    fault.will([gate, Then.STALL])
    task = asyncio.create_task(chat(client))
    await gate.reached.wait()
    gate.opened.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await fault.left.wait()
    assert client.calls == 0


async def test_a_client_that_is_closed_ends_its_calls(fault: FaultServer, connect: Open):
    fault.will(GOOD_STREAM)
    client = connect()
    await client.aclose()
    with pytest.raises(ZaffreError):
        await chat(client)


async def test_connections_are_used_again(fault: FaultServer, connect: Open):
    """Also after a stream: its body is read to the end."""
    fault.will(GOOD_STREAM, GOOD_ANSWER, refusal(400), GOOD_STREAM)
    client = connect()
    assert await chat(client) == GOOD
    assert await chat(client, stream=False) == GOOD
    with pytest.raises(ZaffreError):
        await chat(client)
    assert await chat(client) == GOOD
    assert fault.connections == 1


@pytest.mark.parametrize("ending", [Then.CLOSE, Then.RESET])
async def test_a_used_connection_that_was_closed_is_no_failure(
    fault: FaultServer, connect: Open, ending: Then
):
    """Given a server that has closed it, when a call meets that, then it is sent again."""
    fault.will(GOOD_ANSWER, [ending], GOOD_ANSWER)
    client = connect()
    for _ in range(2):
        assert await chat(client, stream=False) == GOOD
    assert (len(fault.asked), fault.connections) == (3, 2)


async def test_a_new_connection_that_is_closed_is_a_failure(fault: FaultServer, connect: Open):
    fault.will([Then.CLOSE])
    with pytest.raises(EngineFailed):
        await chat(connect())
    assert len(fault.asked) == 1


async def test_a_used_connection_that_breaks_in_mid_answer_is_a_failure(
    fault: FaultServer, connect: Open
):
    fault.will(GOOD_ANSWER, [head(200, Content_Length=99), Then.CLOSE])
    client = connect()
    await chat(client)
    with pytest.raises(EngineFailed):
        await chat(client)
    assert len(fault.asked) == 2
