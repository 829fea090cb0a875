"""A stream is whole, or it raises: there is no third way for it to end."""

import asyncio

import httpx2
import pytest
from scripted import DONE, FAILURE, MORE, QUESTION, SOME, Pieces, Script, answered, streamed

from zaffre.client import AsyncClient, ClientError, CutOff, InvalidAnswer, TimedOut


def client(*steps: httpx2.Response | Exception) -> AsyncClient:
    return AsyncClient("http://server", "key", transport=Script(*steps))


async def test_a_whole_stream_is_all_of_its_pieces():
    """Given a whole stream, when it is read, then it ends, and stays at its end."""
    stream = client(streamed(SOME, MORE, DONE)).stream_chat(QUESTION)
    assert [text async for text in stream.texts()] == ["some ", "more"]
    assert [chunk async for chunk in stream] == []


async def test_pieces_of_a_stream_may_be_cut_anywhere():
    """Given a stream that comes byte by byte, when it is read, then it is the same."""
    pieces = [bytes([byte]) for byte in SOME + MORE + DONE]
    stream = client(streamed(*pieces)).stream_chat(QUESTION)
    assert [text async for text in stream.texts()] == ["some ", "more"]


async def test_what_comes_after_the_end_marker_does_not_count():
    """Given more after the end marker, when the stream is read, then it ends at the marker."""
    stream = client(streamed(SOME + DONE + MORE, FAILURE)).stream_chat(QUESTION)
    assert [text async for text in stream.texts()] == ["some "]


async def test_only_the_first_choice_is_text():
    """Given two choices, when texts are asked for, then they are not mixed."""
    other = b'data: {"choices":[{"index":1,"delta":{"content":"other"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"total_tokens":1}}\n\n'
    stream = client(streamed(SOME, other, usage, DONE)).stream_chat(QUESTION)
    assert [text async for text in stream.texts()] == ["some "]


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], CutOff),
        ([httpx2.ReadError("reset")], CutOff),
        ([httpx2.RemoteProtocolError("incomplete")], CutOff),
        ([httpx2.ReadTimeout("slow")], TimedOut),
        ([FAILURE, DONE], CutOff),
        ([b'data: {"choices":[],"error":"It broke."}\n\n', DONE], CutOff),
        ([DONE[:-1]], CutOff),
        ([b"data: {broken\n\n", DONE], InvalidAnswer),
        ([b'data: {"choices":1}\n\n', DONE], InvalidAnswer),
    ],
    ids=repr,
)
async def test_a_cut_off_stream_never_looks_whole(
    pieces: list[bytes | Exception], kind: type[ClientError]
):
    """Given a stream that breaks, when it is read and read again, then it raises both times."""
    response = streamed(SOME, *pieces)
    stream = client(response).stream_chat(QUESTION)
    assert (await anext(stream)).choices[0].delta.content == "some "
    with pytest.raises(kind) as caught:
        await anext(stream)
    assert caught.value.request_id == "r1"
    assert response.is_closed
    with pytest.raises(CutOff):
        await anext(stream)


async def test_an_error_in_mid_stream_keeps_its_words():
    """Given an error event, when it comes, then code and status are the server's."""
    stream = client(streamed(SOME, FAILURE)).stream_chat(QUESTION)
    with pytest.raises(CutOff, match=r"It broke\.") as caught:
        [chunk async for chunk in stream]
    assert (caught.value.code, caught.value.status) == ("engine_failed", 500)


async def test_a_text_about_errors_is_not_one():
    """Given an answer that quotes an error, when it is read, then it is only text."""
    said = (
        b'data: {"choices":[{"index":0,"delta":{"content":"{\\"error\\": 1}"}}],"error":null}\n\n'
    )
    stream = client(streamed(said, DONE)).stream_chat(QUESTION)
    assert [text async for text in stream.texts()] == ['{"error": 1}']


async def test_a_begun_stream_is_never_begun_again():
    """Given a stream that breaks at once, when it is read, then nothing is sent twice."""
    script = Script(streamed(httpx2.ReadError("reset")), streamed(SOME, DONE))
    stream = AsyncClient("http://server", "key", transport=script).stream_chat(QUESTION)
    with pytest.raises(CutOff):
        await anext(stream)
    assert len(script.requests) == 1


async def test_a_whole_answer_is_not_a_stream():
    """Given a server that does not stream, when a stream is asked for, then it is refused."""
    with pytest.raises(InvalidAnswer):
        await anext(client(answered()).stream_chat(QUESTION))


async def test_leaving_early_ends_the_connection():
    """Given a stream, when its block is left after one piece, then it is closed, and not whole."""
    response = streamed(SOME, MORE, DONE)
    async with client(response).stream_chat(QUESTION) as stream:
        await anext(stream)
        assert not response.is_closed
    assert response.is_closed
    with pytest.raises(CutOff):
        await anext(stream)


async def test_leaving_late_changes_nothing():
    """Given a stream that has ended, when it is closed, then it is still whole."""
    async with client(streamed(SOME, DONE)).stream_chat(QUESTION) as stream:
        assert len([chunk async for chunk in stream]) == 1
    assert [chunk async for chunk in stream] == []


async def test_a_cancelled_stream_is_not_whole():
    """Given a task that waits for a piece, when it is cancelled, then the stream is broken."""

    class Waiting(Pieces):
        async def __aiter__(self):
            yield SOME
            waiting.set()
            await asyncio.Event().wait()

    waiting = asyncio.Event()
    body = Waiting()
    kind = {"content-type": "text/event-stream"}
    stream = client(httpx2.Response(200, stream=body, headers=kind)).stream_chat(QUESTION)
    await anext(stream)
    reading = asyncio.ensure_future(anext(stream))
    await waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert body.closed
    with pytest.raises(CutOff):
        await anext(stream)


async def test_text_completions_stream_alike():
    """Given a stream of a completion, when it is read, then its texts are there."""
    chunk = b'data: {"choices":[{"index":0,"text":"on"},{"index":1,"text":"off"}]}\n\n'
    stream = client(streamed(chunk, DONE)).stream_complete("go")
    assert [text async for text in stream.texts()] == ["on"]
