"""Another Zaffre behind this one, in all three dialects: what it serves comes through unchanged."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from pool_calls import asking, chat, complete, text_of

from servers import RunningServer
from zaffre.core.answers import gathered
from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    EmbedCall,
    ImageEmbedCall,
    ImageInput,
    JsonSchema,
    NamedTool,
    Sampling,
    TextPart,
    Tool,
    UserMessage,
)
from zaffre.core.capabilities import check
from zaffre.core.deltas import Finish, TextDelta, ToolCallDelta, Usage
from zaffre.core.errors import EngineFailed, InvalidRequest, PromptTooLong, UnsupportedParameter
from zaffre.core.plan import Upstream
from zaffre.upstream.pool import UpstreamPool

BASES = {"openai": "/openai/v1", "azure-inference": "/models", "azure-openai": ""}
DIALECTS = list(BASES)


class Pools:
    """Pools over one server."""

    def __init__(self, server: RunningServer, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack

    async def started(self, dialect: str, key: str | None = None, **fields: Any) -> UpstreamPool:
        declared = {
            "url": self._server.endpoint + BASES[dialect],
            "dialect": dialect,
            "model": "echo",
            "key_env": "THEIR_KEY",
            **fields,
        }
        environ = {"THEIR_KEY": key or self._server.key}
        pool = UpstreamPool("ours", [Upstream(**declared)], environ)
        self._stack.push_async_callback(pool.aclose)
        await pool.start()
        return pool


@pytest.fixture
async def pools(echo_server: RunningServer):
    async with AsyncExitStack() as stack:
        yield Pools(echo_server, stack)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_chat(pools: Pools, dialect: str, stream: bool):
    pool = await pools.started(dialect)
    deltas = await chat(pool, asking("one two three", max_tokens=2), stream=stream)
    assert text_of(deltas).split() == ["one", "two"]
    assert deltas[-2:] == [Finish("length"), Usage(3, 2)]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_comes_piece_by_piece(pools: Pools, dialect: str):
    deltas = await chat(await pools.started(dialect), asking("one two three"))
    assert [d.text for d in deltas if isinstance(d, TextDelta)] == ["one ", "two ", "three"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tools_and_formats(pools: Pools, dialect: str, stream: bool):
    pool = await pools.started(dialect)
    said = (UserMessage((TextPart("hello"),)),)
    tool = Tool("look", {"type": "object", "properties": {"text": {"type": "string"}}})
    call = ChatCall(said, tools=(tool,), tool_choice=NamedTool("look"))
    first, *_, finish, usage = await chat(pool, call, stream=stream)
    assert isinstance(first, ToolCallDelta)
    assert (first.call.name, first.call.arguments) == ("look", '{"text":"hello"}')
    assert finish == Finish("tool_calls")
    assert not usage.estimated
    schema = JsonSchema("s", {"type": "object"})
    assert text_of(await chat(pool, ChatCall(said, format=schema), stream=stream)).startswith("{")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_several_choices(pools: Pools, dialect: str, stream: bool):
    pool = await pools.started(dialect, parameters=("n", "top_k"))
    call = asking("one", n=3, top_k=4)
    assert pool.capabilities
    check(call, pool.capabilities)
    answer = gathered(await chat(pool, call, stream=stream))
    assert [choice.text for choice in answer.choices] == ["one"] * 3
    assert answer.usage == Usage(1, 3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_completions(pools: Pools, dialect: str, stream: bool):
    pool = await pools.started(dialect)
    call = CompletionCall(("a b", "c"), Sampling(max_tokens=9))
    answer = gathered(await complete(pool, call, stream=stream))
    assert [choice.text for choice in answer.choices] == ["a b", "c"]
    assert (await complete(pool, call, stream=stream))[-1] == Usage(3, 3)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_vectors(pools: Pools, dialect: str):
    """Bit for bit, whatever the way."""
    pool = await pools.started(dialect, operations=("embed",))
    other = await pools.started("openai", operations=("embed",))
    call = EmbedCall(("one", "two"))
    found = await pool.embed(call)
    assert found == await other.embed(call)
    assert [len(vector) for vector in found.vectors] == [32, 32]
    assert found.usage == Usage(2)


async def test_vectors_of_images(pools: Pools):
    pool = await pools.started("azure-inference", operations=("embed_images",))
    found = await pool.embed_images(ImageEmbedCall((ImageInput(b"GIF89a", "a cat"),)))
    assert len(found.vectors[0]) == 32


@pytest.mark.parametrize("dialect", ["openai", "azure-inference"])
async def test_it_says_itself_what_it_can_do(pools: Pools, dialect: str):
    capabilities = (await pools.started(dialect)).capabilities
    assert capabilities
    assert (capabilities.model, capabilities.provider) == ("ours", "zaffre")
    assert (capabilities.context_length, capabilities.dimensions) == (4096, 8)
    assert capabilities.content_parts == {"text"}
    assert "top_k" in capabilities.parameters
    assert ("embed_images" in capabilities.operations) == (dialect == "azure-inference")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_refusals_are_the_callers_business(pools: Pools, dialect: str):
    pool = await pools.started(dialect)
    with pytest.raises((UnsupportedParameter, InvalidRequest)) as refused:
        await chat(pool, asking("hi", min_p=0.5))
    assert "min_p" in refused.value.message
    assert refused.value.location == ("min_p",)
    with pytest.raises(PromptTooLong):
        await chat(pool, asking("word " * 5000))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_failures_are_failures(pools: Pools, dialect: str, stream: bool):
    for said in ("/fail", "/fail-after 2 a b c"):
        with pytest.raises(EngineFailed):
            await chat(await pools.started(dialect), asking(said), stream=stream)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_wrong_key_is_the_operators_business(pools: Pools, dialect: str):
    pool = await pools.started(dialect, key="not-its-key")
    with pytest.raises(EngineFailed, match="credential"):
        await chat(pool)
    assert "credential" in pool.statuses()[0].cause


async def test_a_model_it_does_not_have_is_the_operators_business(pools: Pools):
    # With one model, only a path insists on its name (contract, section 4.1).
    pool = await pools.started("azure-openai", model="nobody")
    with pytest.raises(EngineFailed, match="no such model"):
        await chat(pool)
