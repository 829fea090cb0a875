"""Phi-3 on llama.cpp: its template, its tokens, its turns. The weights are random."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from llama_models import asked, continued, running, sampling, tiny
from phi3 import TOKEN_IDS, write_phi3

from zaffre.core.answers import gather
from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    JsonSchema,
    SystemMessage,
    TextPart,
    Tool,
    UserMessage,
)
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.errors import PromptTooLong
from zaffre.engines.llama.engine import LlamaEngine
from zaffre.engines.llama.options import read_settings
from zaffre.engines.llama.server import LlamaServer
from zaffre.engines.llama.wire import Prompt, Tokens, chat_fields
from zaffre.registry.gguf import choose_engine, read_header

BRIEF = (SystemMessage("be brief"), UserMessage((TextPart("Hello Phi"),)))
RENDERED = "<|system|>\nbe brief<|end|>\n<|user|>\nHello Phi<|end|>\n<|assistant|>\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phi3(tmp_path_factory.mktemp("phi3") / "phi3.gguf")


@pytest.fixture(scope="module")
async def engine(checkpoint: Path) -> AsyncIterator[LlamaEngine]:
    async with running(tiny(checkpoint)) as started:
        yield started


@pytest.fixture(scope="module")
async def server(checkpoint: Path) -> AsyncIterator[LlamaServer]:
    server = LlamaServer(read_settings(tiny(checkpoint)))
    yield server
    await server.aclose()


def test_llama_is_the_engine_for_phi3(checkpoint: Path):
    """Given a Phi-3 file, when an engine is chosen, then it is llama, and it is said why."""
    engine, reason = choose_engine(read_header(checkpoint))
    assert engine == "llama"
    assert "architecture is 'phi3'" in reason


async def test_the_prompt_is_exactly_what_phi3_was_trained_on(server: LlamaServer):
    """Given a conversation, when it is rendered, then it is in Phi-3's own form, and so on."""
    later = (*BRIEF, AssistantMessage("Hello"), UserMessage((TextPart("and?"),)))
    for messages, expected in (
        (BRIEF, RENDERED),
        (later, f"{RENDERED}Hello<|end|>\n<|user|>\nand?<|end|>\n<|assistant|>\n"),
    ):
        body = chat_fields(ChatCall(messages=messages))
        assert (await server.post("/apply-template", body, Prompt)).prompt == expected


@pytest.mark.parametrize("name", TOKEN_IDS)
async def test_a_special_token_is_one_token(server: LlamaServer, name: str):
    """Given a special token's name, when it is read, then it is that token and no other."""
    body = {"content": f"x{name}y", "add_special": False, "parse_special": True}
    tokens = (await server.post("/tokenize", body, Tokens)).tokens
    assert tokens.count(TOKEN_IDS[name]) == 1


async def test_a_chat_is_a_completion_of_the_rendered_prompt(engine: LlamaEngine):
    """Given both, when they are answered greedily, then they cost and say the same."""
    chatted = await gather(engine.chat(ChatCall(messages=BRIEF, sampling=sampling())))
    completed = await gather(engine.complete(continued(RENDERED, sampling=sampling())))
    assert chatted.choices == completed.choices
    assert chatted.usage.prompt_tokens == completed.usage.prompt_tokens > 10


async def test_an_answer_streams(engine: LlamaEngine):
    """Given a chat, when it is answered, then in many pieces, an end, and what it cost."""
    call = ChatCall(messages=BRIEF, sampling=sampling(max_tokens=40, ignore_eos=True))
    *pieces, finish, usage = [delta async for delta in engine.chat(call)]
    assert sum(isinstance(piece, TextDelta) for piece in pieces) == len(pieces) > 10
    assert finish == Finish("length")
    assert isinstance(usage, Usage)
    assert usage.completion_tokens == 40


@pytest.mark.parametrize("name", ["<|end|>", "<|endoftext|>"])
async def test_the_models_own_end_ends_a_turn(engine: LlamaEngine, name: str):
    """Given a model that says its end token, when it answers, then the turn is over, in silence."""
    call = ChatCall(messages=BRIEF, sampling=sampling(logit_bias={TOKEN_IDS[name]: 100.0}))
    answer = await gather(engine.chat(call))
    assert answer.choices[0].text == ""
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 1


async def test_random_bytes_never_become_broken_text(engine: LlamaEngine):
    """Given a model that draws bytes at random, when it speaks, then it is in whole characters."""
    call = ChatCall(
        messages=BRIEF,
        sampling=sampling(temperature=2, seed=5, max_tokens=400, ignore_eos=True),
    )
    text = (await gather(engine.chat(call))).choices[0].text
    assert "\ufffd" in text
    assert text.encode().decode() == text


async def test_an_answer_is_held_to_a_schema(engine: LlamaEngine):
    """Given a model that knows no JSON, when a schema is asked for, then it is satisfied."""
    schema = {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["cm", "m"]},
        },
        "required": ["size", "unit"],
    }
    for seed in range(5):
        call = ChatCall(
            messages=BRIEF,
            sampling=sampling(temperature=1, seed=seed, max_tokens=100),
            format=JsonSchema("size", schema),
        )
        answer = (await gather(engine.chat(call))).choices[0]
        said = msgspec.json.decode(answer.text)
        assert answer.finish_reason == "stop"
        assert set(said) == {"size", "unit"}
        assert 1 <= said["size"] <= 9


async def test_a_tool_is_called_when_it_must_be(engine: LlamaEngine):
    """Given a template without tools, when a tool is required, then it is called as described."""
    tool = Tool(
        "switch", {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    )
    call = ChatCall(
        messages=BRIEF,
        tools=(tool,),
        tool_choice="required",
        parallel_tool_calls=False,
        sampling=sampling(temperature=1, seed=3, max_tokens=100),
    )
    answer = (await gather(engine.chat(call))).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert [made.name for made in answer.tool_calls] == ["switch"]
    assert type(msgspec.json.decode(answer.tool_calls[0].arguments)["on"]) is bool


async def test_requests_wait_for_room_instead_of_ending_each_other(checkpoint: Path):
    """Given room for one long answer, when four come at once, then each is answered in full."""
    call = asked("Hello", sampling=sampling(max_tokens=200, ignore_eos=True))
    async with running(tiny(checkpoint, n_ctx=256, kv_cache_tokens=256)) as engine:
        answers = [asyncio.create_task(gather(engine.chat(call))) for _ in range(4)]
        async with asyncio.timeout(10):
            while engine.health().waiting < 3:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        assert engine.health().active == 1
        used = [(await answer).usage.completion_tokens for answer in answers]
        assert used == [200] * 4
        assert engine.health().active == engine.health().waiting == 0


async def test_a_context_is_that_of_one_request(checkpoint: Path):
    """Given room for many, when one prompt is longer than its context, then it is refused."""
    spec = tiny(checkpoint, n_ctx=64, kv_cache_tokens=256)
    async with running(spec) as engine:
        with pytest.raises(PromptTooLong, match="64 tokens"):
            await gather(engine.complete(continued("x" * 100, sampling=sampling())))
        call = continued("x" * 40, sampling=sampling(max_tokens=60, ignore_eos=True))
        answer = await gather(engine.complete(call))
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.total_tokens == 64
