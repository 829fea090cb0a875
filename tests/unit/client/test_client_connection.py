"""What is repeated and what is not, what is too large, and by which names failures go."""

import httpx2
import pytest
from scripted import ANSWER, Pieces, Script, answered

from zaffre.client.asynchronous.connection import FIRST_PAUSE_S, MAX_ERROR_BYTES, AsyncConnection
from zaffre.client.endpoint import Endpoint
from zaffre.client.errors import (
    ClientError,
    ConnectionFailed,
    CutOff,
    InvalidAnswer,
    RateLimited,
    TimedOut,
    Unavailable,
)
from zaffre.client.options import Body
from zaffre.wire.chat import ChatResponse

ENDPOINT = Endpoint("http://server", "key", "2025-04-01")
URL = ENDPOINT.url("/chat/completions")
BODY = Body(b"{}", {})
BUSY = {"error": {"code": "too_many_requests", "message": "Busy."}}
REFUSED = httpx2.ConnectError("refused")


class Waits(list[float]):
    """Remembers how long it was to wait, and does not."""

    async def __call__(self, duration_s: float) -> None:
        self.append(duration_s)


async def post(script: Script, waits: Waits, retries: int = 2) -> ChatResponse:
    connection = AsyncConnection(
        ENDPOINT, timeout_s=5, retries=retries, transport=script, wait=waits, max_answer_bytes=1000
    )
    try:
        return await connection.post(URL, BODY, ChatResponse)
    finally:
        await connection.aclose()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_says_when_is_asked_again_then(status: int):
    """Given a busy server that names a time, when that has passed, then the same is sent again."""
    script = Script(answered(status, BUSY, retry_after="7"), answered())
    waits = Waits()
    answer = await post(script, waits)
    assert answer.choices[0].message.content == "Hello"
    assert waits == [7]
    first, second = script.requests
    assert first.content == second.content == BODY.content


async def test_a_server_that_is_not_there_is_tried_again():
    """Given a server that is starting, when it refuses connections, then the pauses grow."""
    waits = Waits()
    await post(Script(REFUSED, httpx2.ConnectTimeout("slow"), answered()), waits)
    assert waits == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (answered(429, BUSY, retry_after="0"), RateLimited),
        (answered(503, BUSY, retry_after="0"), Unavailable),
        (REFUSED, ConnectionFailed),
    ],
)
async def test_patience_has_an_end(step: httpx2.Response | Exception, kind: type[ClientError]):
    """Given a server that stays as it is, when it has been asked three times, then that is it."""
    script = Script(step, step, step, answered())
    with pytest.raises(kind):
        await post(script, Waits())
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "step",
    [
        answered(429, BUSY),
        answered(429, BUSY, retry_after="61"),
        answered(429, BUSY, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
        answered(503, BUSY, retry_after="-1"),
        answered(500, BUSY, retry_after="1"),
        answered(400, BUSY, retry_after="1"),
        answered(408, BUSY, retry_after="1"),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.WriteError("reset"),
        httpx2.RemoteProtocolError("no answer"),
        httpx2.PoolTimeout("full"),
    ],
    ids=repr,
)
async def test_nothing_else_is_repeated(step: httpx2.Response | Exception):
    """Given any other failure, when it comes, then it is the caller's to decide."""
    script = Script(step, answered())
    with pytest.raises(ClientError):
        await post(script, Waits())
    assert len(script.requests) == 1


async def test_repeating_can_be_turned_off():
    """Given no retries, when the server names a time, then the caller is told it."""
    script = Script(answered(429, BUSY, retry_after="7", x_request_id="r1"))
    with pytest.raises(RateLimited) as caught:
        await post(script, Waits(), retries=0)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 7)
    assert (caught.value.code, caught.value.request_id) == ("too_many_requests", "r1")


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx2.ConnectError("x"), ConnectionFailed),
        (httpx2.ConnectTimeout("x"), ConnectionFailed),
        (httpx2.PoolTimeout("x"), ConnectionFailed),
        (httpx2.ProxyError("x"), ConnectionFailed),
        (httpx2.ReadTimeout("x"), TimedOut),
        (httpx2.WriteTimeout("x"), TimedOut),
        (httpx2.ReadError("x"), CutOff),
        (httpx2.WriteError("x"), CutOff),
        (httpx2.RemoteProtocolError("x"), CutOff),
        (httpx2.DecodingError("x"), CutOff),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
async def test_failures_go_by_their_cause(failure: Exception, kind: type[ClientError]):
    """Given a transport that fails, when it is heard of, then by what it means."""
    with pytest.raises(ClientError) as caught:
        await post(Script(failure), Waits(), retries=0)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is failure


async def test_an_answer_cut_in_the_middle_is_no_answer():
    """Given half an answer, when the connection breaks, then the log can be asked about it."""
    half = Pieces(b'{"choices":[', httpx2.ReadError("reset"))
    response = httpx2.Response(200, stream=half, headers={"apim-request-id": "r2"})
    with pytest.raises(CutOff) as caught:
        await post(Script(response), Waits())
    assert caught.value.request_id == "r2"
    assert half.closed


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"choices":3}', b"<html>", b"\xff"])
async def test_another_kind_of_answer_is_refused(body: bytes):
    """Given a 200 of something else, when it is read, then it is not taken for an answer."""
    with pytest.raises(InvalidAnswer):
        await post(Script(httpx2.Response(200, content=body)), Waits())


async def test_an_endless_answer_is_left():
    """Given an answer without end, when there is too much of it, then the rest is not read."""
    endless = Pieces(*[b" " * 400] * 3, AssertionError("it was read on"))
    with pytest.raises(InvalidAnswer, match="larger than 1000 bytes"):
        await post(Script(httpx2.Response(200, stream=endless)), Waits())
    assert endless.closed


async def test_an_endless_explanation_is_left():
    """Given an error page without end, when there is too much of it, then its status is told."""
    piece = b"x" * (MAX_ERROR_BYTES // 2)
    endless = Pieces(piece, piece, piece, AssertionError("it was read on"))
    with pytest.raises(Unavailable) as caught:
        await post(Script(httpx2.Response(503, stream=endless)), Waits())
    assert len(caught.value.message) < 1000
    assert endless.closed


async def test_a_broken_explanation_still_has_its_status():
    """Given an error whose body breaks off, when it is read, then its status is told."""
    broken = Pieces(b'{"error":', httpx2.ReadError("reset"))
    with pytest.raises(Unavailable):
        await post(Script(httpx2.Response(503, stream=broken)), Waits())


async def test_an_exact_answer_is_taken():
    """Given an answer of exactly the largest size, when it is read, then it is taken."""
    body = httpx2.Response(200, json=ANSWER).content
    exact = Script(httpx2.Response(200, content=body + b" " * (1000 - len(body))))
    assert (await post(exact, Waits())).model == "m"
