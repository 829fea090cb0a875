"""vLLM behind Zaffre, where somebody runs one: set ZAFFRE_TEST_VLLM_URL (and _KEY, _MODEL).

For example `vllm serve MODEL --port 8000`, then ZAFFRE_TEST_VLLM_URL=http://127.0.0.1:8000/v1.
"""

import os
from collections.abc import AsyncIterator

import pytest
from pool_calls import asking, chat, complete, text_of

from zaffre.core.calls import CompletionCall, Sampling
from zaffre.core.deltas import Finish
from zaffre.core.plan import Upstream
from zaffre.upstream.pool import UpstreamPool

URL = os.environ.get("ZAFFRE_TEST_VLLM_URL", "")
KEY = "ZAFFRE_TEST_VLLM_KEY"
pytestmark = pytest.mark.skipif(not URL, reason="ZAFFRE_TEST_VLLM_URL names no vLLM server")


@pytest.fixture
async def vllm() -> AsyncIterator[UpstreamPool]:
    upstream = Upstream(
        url=URL,
        model=os.environ.get("ZAFFRE_TEST_VLLM_MODEL"),
        key_env=KEY if KEY in os.environ else None,
        parameters=("temperature", "max_tokens", "seed", "n", "top_k"),
    )
    pool = UpstreamPool("vllm", [upstream], os.environ)
    await pool.start()
    yield pool
    await pool.aclose()


async def test_streaming_and_not_streaming_say_the_same(vllm: UpstreamPool):
    call = asking("Name a colour.", temperature=0.0, max_tokens=12, seed=1)
    streamed, whole = await chat(vllm, call), await chat(vllm, call, stream=False)
    assert text_of(streamed) == text_of(whole) != ""
    assert streamed[-2:] == whole[-2:]
    assert not streamed[-1].estimated


async def test_several_choices_and_completions(vllm: UpstreamPool):
    deltas = await chat(vllm, asking("Name a colour.", n=2, max_tokens=4, top_k=40))
    assert {delta.index for delta in deltas if isinstance(delta, Finish)} == {0, 1}
    text = await complete(vllm, CompletionCall(("One, two,",), Sampling(max_tokens=4)))
    assert text[-2] == Finish("length")


async def test_it_says_how_long_a_prompt_may_be(vllm: UpstreamPool):
    assert vllm.capabilities
    assert vllm.capabilities.context_length
