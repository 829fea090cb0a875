"""The synchronous client, of which each word is generated: that it waits, repeats and closes."""

import httpx2
import pytest
from scripted import DONE, MORE, QUESTION, SOME, Script, answered, streamed

from zaffre.client import Client, ConnectionFailed, CutOff
from zaffre.client.endpoint import Endpoint
from zaffre.client.options import Body
from zaffre.client.synchronous.connection import FIRST_PAUSE_S, Connection
from zaffre.wire.chat import ChatResponse


def client(*steps: httpx2.Response | Exception) -> Client:
    return Client("http://server", "key", transport=Script(*steps), retries=0)


def test_it_answers():
    """Given a server, when it is asked without a loop, then it answers."""
    with client(answered()) as asking:
        assert asking.chat(QUESTION).choices[0].message.content == "Hello"
    with pytest.raises(RuntimeError):
        asking.chat(QUESTION)


def test_it_streams():
    """Given a whole stream, when it is read, then it ends."""
    assert [*client(streamed(SOME, MORE, DONE)).stream_chat(QUESTION).texts()] == ["some ", "more"]


def test_a_cut_off_stream_raises():
    """Given a stream that breaks, when it is read and read again, then it raises both times."""
    stream = client(streamed(SOME, httpx2.ReadError("reset"))).stream_chat(QUESTION)
    assert next(stream)
    for _ in range(2):
        with pytest.raises(CutOff):
            next(stream)


def test_leaving_early_ends_the_connection():
    """Given a stream, when its block is left after one piece, then it is closed."""
    response = streamed(SOME, MORE, DONE)
    with client(response).stream_chat(QUESTION) as stream:
        next(stream)
    assert response.is_closed
    with pytest.raises(CutOff):
        next(stream)


def test_it_repeats_what_it_may():
    """Given a server that is not there yet, when it is asked, then it is asked again, later."""
    waits: list[float] = []
    endpoint = Endpoint("http://server", "key", "2025-04-01")
    refused = httpx2.ConnectError("refused")
    script = Script(refused, answered(503, {}, retry_after="5"), answered(), refused, refused)
    connection = Connection(endpoint, timeout_s=5, retries=2, transport=script, wait=waits.append)
    url = endpoint.url("/chat/completions")
    connection.post(url, Body(b"{}", {}), ChatResponse)
    assert waits == [FIRST_PAUSE_S, 5]
    connection.close()


def test_it_says_when_nobody_is_there():
    """Given no server, when it is asked, then the error says that nothing was sent."""
    with pytest.raises(ConnectionFailed):
        client(httpx2.ConnectError("refused")).info()
