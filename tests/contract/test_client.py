"""The Python SDK against a running server: every operation, and every way in which one can end."""

import asyncio
import contextlib
from array import array
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from servers import RunningServer, running_server
from zaffre.client import (
    AsyncClient,
    Client,
    CutOff,
    NotFound,
    NotSupported,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthenticated,
    UnknownModel,
)

CONFIGURATION = """\
settings: {max_waiting: 1}
deployments:
  - {name: echo, model: echo, slots: 64}
  - {name: narrow, model: echo, slots: 1}
  - {name: fragile, model: echo}
"""
"""`narrow` takes two calls at a time; `fragile` is there to be broken."""
PNG = b"\x89PNG\r\n\x1a\n and so on"
A_MINUTE = " ".join(["/slow", "100", *["word"] * 600])
PATIENCE = 2000


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of its own, since its models are overloaded and killed."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "zaffre.yaml").write_text(CONFIGURATION)
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as running:
        yield running


@pytest.fixture
async def client(open_server: RunningServer) -> AsyncIterator[AsyncClient]:
    """A client that repeats nothing."""
    async with AsyncClient(open_server.endpoint, open_server.key, retries=0) as opened:
        yield opened


@pytest.fixture
def plain_client(open_server: RunningServer) -> Iterator[Client]:
    """The same, without a loop."""
    with Client(open_server.endpoint, open_server.key, retries=0) as opened:
        yield opened


async def until(server: RunningServer, model: str, **expected: object) -> None:
    """Ask the server until its replica of `model` is as expected."""

    def ask() -> None:
        for _ in range(PATIENCE):
            rows = server.get("/health/replicas")["replicas"]
            row = next(row for row in rows if row["deployment"] == model)
            if all(row[name] == value for name, value in expected.items()):
                return
        raise AssertionError(f"{row} never became {expected}")

    await asyncio.to_thread(ask)


async def test_it_chats(client: AsyncClient):
    """Given a server, when it is asked in any form, then the answer is the wire's own struct."""
    answer = await client.chat("one two", model="ECHO", max_tokens=1, stop=["x"], seed=1)
    assert answer.choices[0].message.content == "one "
    assert answer.choices[0].finish_reason == "length"
    assert answer.model == "echo"
    assert answer.usage
    assert answer.usage.total_tokens == 3


async def test_it_calls_tools(client: AsyncClient):
    """Given a function, when the model calls it, then the result can be told in the next turn."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    said = [{"role": "user", "content": "out"}]
    called = (await client.chat(said, tools=[tool])).choices[0]
    assert called.finish_reason == "tool_calls"
    assert isinstance(called.message.tool_calls, list)
    call = called.message.tool_calls[0]
    assert call.function
    assert (call.function.name, call.function.arguments) == ("look", '{"text":"out"}')
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    answer = await client.chat([*said, called.message, result], tools=[tool])
    assert answer.choices[0].message.content == "out"


async def test_it_streams(client: AsyncClient):
    """Given a stream, when it is read, then it has role, words, reason and usage."""
    async with client.stream_chat("one two") as stream:
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "one ", "two", ""]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].usage


async def test_it_completes(client: AsyncClient):
    """Given prompts, when they are continued, whole or streamed, then the texts are the same."""
    answer = await client.complete(["a b", "c"])
    assert [choice.text for choice in answer.choices] == ["a b", "c"]
    async with client.stream_complete("a b") as stream:
        assert [text async for text in stream.texts()] == ["a ", "b"]


async def test_it_embeds(client: AsyncClient, tmp_path: Path):
    """Given texts and images, when they are embedded, then there are vectors of float32."""
    vectors = await client.embed(["a", "b", "a"], input_type="query")
    assert [len(vector) for vector in vectors] == [8, 8, 8]
    assert vectors[0] == vectors[2] != vectors[1]
    assert isinstance(vectors[0], array)
    assert sum(x * x for x in vectors[0]) == pytest.approx(1)
    assert vectors.usage.prompt_tokens == 3

    (tmp_path / "image.png").write_bytes(PNG)
    images = [PNG, tmp_path / "image.png", PNG]
    seen = await client.embed_images(images, captions=[None, None, "a cat"])
    assert seen[0] == seen[1] != seen[2]


async def test_it_describes(client: AsyncClient):
    """Given a server, when it is asked what it is, then it tells all its models."""
    assert (await client.info()).model_type == "chat-completion"
    assert (await client.info(model="narrow")).model_provider_name == "zaffre"
    assert [entry.id for entry in await client.models()] == ["echo", "narrow", "fragile"]


@pytest.mark.parametrize(
    "mount",
    ["", "/", "/v1", "/models", "/api/models/", "/inference", "/?api-version=2024-05-01-preview"],
)
async def test_any_endpoint_of_the_dialect_will_do(open_server: RunningServer, mount: str):
    """Given one of the addresses that owners hand out, when it is used, then it works."""
    async with AsyncClient(open_server.endpoint + mount, open_server.key) as client:
        assert (await client.chat("hi")).choices[0].message.content == "hi"
        assert len(await client.models()) == 3


def test_it_needs_no_loop(plain_client: Client):
    """Given a program without a loop, when it asks for everything, then it gets everything."""
    assert plain_client.chat("one two").choices[0].message.content == "one two"
    with plain_client.stream_chat("one two") as stream:
        assert [*stream.texts()] == ["one ", "two"]
    assert plain_client.complete("a").choices[0].text == "a"
    assert [*plain_client.stream_complete("a b").texts()] == ["a ", "b"]
    assert len(plain_client.embed(["a"])[0]) == 8
    assert len(plain_client.embed_images([PNG])) == 1
    assert plain_client.info().model_name
    assert len(plain_client.models()) == 3


async def test_many_at_a_time_get_their_own_answers(client: AsyncClient):
    """Given one client, when fifty tasks use it together, then no answer goes astray."""
    said = [f"number {number}" for number in range(50)]
    answers = await asyncio.gather(*map(client.chat, said))
    assert [answer.choices[0].message.content for answer in answers] == said


async def test_refusals_have_their_classes(client: AsyncClient, open_server: RunningServer):
    """Given requests that are refused, when they are made, then their classes say why."""
    with pytest.raises(UnknownModel) as unknown:
        await client.chat("hi", model="nope")
    assert (unknown.value.status, unknown.value.code) == (400, "unknown_model")
    assert unknown.value.request_id
    with pytest.raises(UnknownModel):
        await anext(client.stream_chat("hi", model="nope"))
    with pytest.raises(NotSupported) as unsupported:
        await client.chat("hi", extra={"truncate": "END"})
    assert unsupported.value.location == ("body", "truncate")
    assert (await client.chat("hi", extra={"n": 2})).choices[1].message.content == "hi"
    with pytest.raises(ServerFailed):
        await client.chat("/fail")
    async with AsyncClient(f"{open_server.endpoint}/nowhere", open_server.key) as lost:
        with pytest.raises(NotFound):
            await lost.info()
    async with AsyncClient(open_server.endpoint, "wrong") as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.info()


async def test_a_failure_in_mid_stream_is_heard(client: AsyncClient, plain_client: Client):
    """Given an engine that fails after two words, when its stream is read, then it raises."""
    got = []
    with pytest.raises(CutOff) as failed:  # noqa: PT012 - what came before is the point
        async for text in client.stream_chat("/fail-after 2 a b").texts():
            got.append(text)  # noqa: PERF401
    assert got == ["/fail-after ", "2 "]
    assert (failed.value.code, failed.value.status) == ("engine_failed", 500)
    assert failed.value.request_id
    with pytest.raises(CutOff):
        [*plain_client.stream_complete("/fail-after 2 a b")]


async def test_a_worker_that_dies_is_heard_and_waited_for(
    client: AsyncClient, open_server: RunningServer
):
    """Given a worker that dies in mid-stream, when it is asked again, then a new one answers."""
    with pytest.raises(CutOff):
        [chunk async for chunk in client.stream_chat("/crash-after 2 a b", model="fragile")]
    async with AsyncClient(open_server.endpoint, open_server.key, retries=10) as patient:
        answer = await patient.chat("back", model="fragile")
    assert answer.choices[0].message.content == "back"


async def test_a_full_queue_is_a_time_to_wait(client: AsyncClient, open_server: RunningServer):
    """Given a full queue, when there is room again, then the one who waited is served."""
    hanging = [asyncio.ensure_future(client.chat("/hang", model="narrow")) for _ in range(2)]
    await until(open_server, "narrow", calls=2)
    with pytest.raises(RateLimited) as full:
        await client.chat("hi", model="narrow")
    assert full.value.retry_after_s == 1
    watching = Watching()
    async with AsyncClient(open_server.endpoint, open_server.key, transport=watching) as patient:
        waiting = asyncio.ensure_future(patient.chat("hi", model="narrow"))
        await watching.answered.wait()
        await _cancelled(*hanging)
        assert (await waiting).choices[0].message.content == "hi"
    assert watching.statuses == [429, 200]


class Watching(httpx2.AsyncHTTPTransport):
    """The usual transport, which tells what it carries."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.answered = asyncio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        self.statuses.append(response.status_code)
        self.answered.set()
        return response


async def _cancelled(*tasks: "asyncio.Future[object]") -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_server_is_not_waited_for(open_server: RunningServer, stream: bool):
    """Given a model that is too slow, when time is up, then its worker is free again."""
    async with AsyncClient(open_server.endpoint, open_server.key, timeout_s=0.2) as hasty:
        said = "/slow 60000 a"
        if stream:
            answer = anext(hasty.stream_chat(said, model="narrow"))
        else:
            answer = hasty.chat(said, model="narrow")
        with pytest.raises(TimedOut):
            await answer
        await until(open_server, "narrow", active=0, calls=0)


async def test_a_cancelled_task_frees_the_worker(client: AsyncClient, open_server: RunningServer):
    """Given answers in the making, when their tasks are cancelled, then nobody works on them."""

    async def read() -> None:
        async for _ in client.stream_chat(A_MINUTE, model="narrow"):
            begun.set()

    begun = asyncio.Event()
    streaming = asyncio.ensure_future(read())
    await begun.wait()
    await _cancelled(streaming)
    await until(open_server, "narrow", active=0, calls=0)

    whole = asyncio.ensure_future(client.chat("/hang", model="narrow"))
    await until(open_server, "narrow", active=1)
    await _cancelled(whole)
    await until(open_server, "narrow", active=0, calls=0)


async def test_leaving_a_stream_frees_the_worker(
    client: AsyncClient, plain_client: Client, open_server: RunningServer
):
    """Given streams, when their blocks are left early, then nobody works on them."""
    async with client.stream_chat(A_MINUTE, model="narrow") as stream:
        await anext(stream)
    await until(open_server, "narrow", active=0, calls=0)
    with plain_client.stream_chat(A_MINUTE, model="narrow") as plain_stream:
        next(plain_stream)
    await until(open_server, "narrow", active=0, calls=0)
    assert (await client.chat("hi", model="narrow")).choices[0].message.content == "hi"


async def test_closing_the_client_ends_its_streams(client: AsyncClient, open_server: RunningServer):
    """Given a stream nobody closes, when its client is closed, then the worker is free."""
    other = AsyncClient(open_server.endpoint, open_server.key)
    stream = other.stream_chat(A_MINUTE, model="narrow")
    await anext(stream)
    await other.aclose()
    await until(open_server, "narrow", active=0, calls=0)
    with pytest.raises(CutOff):
        [chunk async for chunk in stream]
