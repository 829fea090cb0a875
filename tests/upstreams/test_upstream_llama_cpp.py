"""llama.cpp's own server behind Zaffre, on the starter model: somebody else's server, for real."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pool_calls import asking, chat, complete, text_of

from zaffre.core.answers import gathered
from zaffre.core.calls import ChatCall, CompletionCall, JsonSchema, Sampling, TextPart, UserMessage
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.errors import EngineFailed, PromptTooLong, ZaffreError
from zaffre.core.plan import Upstream
from zaffre.registry.store import ModelStore, default_home
from zaffre.upstream.pool import UpstreamPool

SERVER = Path(__file__).with_name("llama_cpp_server.py")
KEY = "llama-key-0123"
START_LIMIT_S = 60


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[str]:
    """Where llama.cpp serves."""
    model = ModelStore(default_home(os.environ)).find("smollm2-135m-instruct")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        str(model.path),
        KEY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(START_LIMIT_S):
            line = (await process.stdout.readline()).decode().strip()
        assert line, "llama.cpp did not start"
        yield line if line.startswith("http") else f"http://{line}"
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(scope="module")
async def llama(address: str) -> AsyncIterator[UpstreamPool]:
    upstream = Upstream(url=f"{address}/v1", key_env="LLAMA")
    pool = UpstreamPool("smollm2", [upstream], {"LLAMA": KEY})
    await pool.start()
    yield pool
    await pool.aclose()


async def test_streaming_and_not_streaming_say_the_same(llama: UpstreamPool):
    call = asking("Name a colour.", temperature=0.0, max_tokens=12, seed=1)
    streamed = await chat(llama, call)
    whole = await chat(llama, call, stream=False)
    assert text_of(streamed) == text_of(whole) != ""
    assert sum(isinstance(delta, TextDelta) for delta in streamed) > 3
    assert streamed[-2] == whole[-2]
    usage, other = streamed[-1], whole[-1]
    assert isinstance(usage, Usage)
    assert isinstance(other, Usage)
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        other.prompt_tokens,
        other.completion_tokens,
    )
    assert not usage.estimated


async def test_the_bound_on_tokens_is_its_reason(llama: UpstreamPool):
    deltas = await chat(llama, asking("Count to a hundred.", max_tokens=3, temperature=0.0))
    assert deltas[-2] == Finish("length")
    assert deltas[-1].completion_tokens == 3


async def test_a_format_holds(llama: UpstreamPool):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    call = ChatCall(
        (UserMessage((TextPart("Is water wet?"),)),),
        Sampling(temperature=0.0, max_tokens=40),
        JsonSchema("answer", schema),
    )
    answer = gathered(await chat(llama, call))
    assert answer.choices[0].text.replace(" ", "").replace("\n", "") in (
        '{"ok":true}',
        '{"ok":false}',
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion(llama: UpstreamPool, stream: bool):
    call = CompletionCall(("The capital of France is",), Sampling(temperature=0.0, max_tokens=4))
    deltas = await complete(llama, call, stream=stream)
    assert text_of(deltas)
    assert deltas[-2] == Finish("length")
    assert not deltas[-1].estimated


async def test_a_prompt_too_long_is_the_callers_business(llama: UpstreamPool):
    with pytest.raises(PromptTooLong):
        await chat(llama, asking("word " * 5000))
    assert llama.statuses()[0].consecutive_failures == 0


async def test_what_it_says_of_its_model_is_read(llama: UpstreamPool):
    assert llama.capabilities
    assert llama.capabilities.context_length


async def test_a_wrong_key_is_the_operators_business(address: str):
    pool = UpstreamPool("m", [Upstream(url=f"{address}/v1", key_env="K")], {"K": "wrong"})
    try:
        with pytest.raises(EngineFailed, match="credential"):
            await chat(pool)
    finally:
        await pool.aclose()


async def test_a_caller_who_leaves_frees_it(llama: UpstreamPool):
    deltas = llama.stream(asking("Write a long story.", max_tokens=1500))
    await anext(deltas)
    await deltas.aclose()
    assert (await llama.health()).active == 0
    try:
        assert text_of(await chat(llama, asking("Hello", max_tokens=4)))
    except ZaffreError as error:
        pytest.fail(f"it was not free: {error}")
