"""Phi-3 as OpenVINO IR: its template, its tokens, its turns. Exported from random weights."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from conformance import Subject
from msgspec import Meta
from test_conformance import CLOCK, ODD_TEXTS

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    CompletionCall,
    JsonSchema,
    Sampling,
    SystemMessage,
    TextPart,
    Tool,
    UserMessage,
)
from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import InvalidParameter, PromptTooLong
from zaffre.engines.openvino.engine import OpenVinoEngine
from zaffre.engines.openvino.model import LoadedModel
from zaffre.engines.openvino.options import load_order
from zaffre.engines.openvino.wire import Conversation
from zaffre.registry.detect import choose, detect

FOLDER = Path(__file__).with_name("phi3_ir")
CONTEXT_LENGTH = 2048
BRIEF = (SystemMessage("be brief"), UserMessage((TextPart("Hello Phi"),)))
RENDERED = "<|system|>\nbe brief<|end|>\n<|user|>\nHello Phi<|end|>\n<|assistant|>\n"
RENDERED_TOKENS = 9
"""Five special ones, and one for each word; white space behind a special token is part of it."""
COUNT = Sampling(max_tokens=0)
WILD = Sampling(temperature=2, max_tokens=400)


class Nonsense(msgspec.Struct, forbid_unknown_fields=True):
    """What `NONSENSE_SCHEMA` describes; but this model spells the names of byte tokens letter by
    letter, which no trained one does, and then a text may be longer than its bound.
    """

    text: str
    kind: Literal["a b", "<|end|>", '"']
    number: Annotated[int, Meta(ge=-5, le=120)]
    mail: Annotated[str, Meta(pattern="^[a-z]{2,8}@example[.]org$")]
    flags: Annotated[list[bool], Meta(max_length=3)]


NONSENSE_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["a b", "<|end|>", '"']},
        "number": {"type": "integer", "minimum": -5, "maximum": 120},
        "mail": {"type": "string", "pattern": "^[a-z]{2,8}@example[.]org$"},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["text", "kind", "number", "mail", "flags"],
}


def _spec() -> EngineSpec:
    card = ModelCard(name="tiny-phi3", format="openvino-ir", operations=("chat", "complete"))
    return EngineSpec(card=card, path=str(FOLDER), threads=1)


@pytest.fixture(scope="module")
async def phi3() -> AsyncIterator[Subject]:
    engine = OpenVinoEngine(_spec())
    yield Subject("openvino", engine, await engine.start())
    await engine.aclose()


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """The model as the runner holds it."""
    return LoadedModel(load_order(_spec()))


def test_openvino_is_the_engine_for_the_folder():
    """Given an exported folder, when an engine is chosen, then it is openvino, and it is said."""
    engine, reason = choose(detect("phi", FOLDER))
    assert engine == "openvino"
    assert "OpenVINO IR" in reason


def test_the_prompt_is_exactly_what_phi3_was_trained_on(loaded: LoadedModel):
    """Given a conversation, when it is rendered, then it is in Phi-3's own form."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "Hello Phi"},
    ]
    assert loaded.render(Conversation(messages)) == RENDERED


@pytest.mark.parametrize("text", ["Hello Phi", "한국어 안녕 😀", "a\tb\nc", " two  blanks"])
def test_tokens_are_the_text_again(loaded: LoadedModel, text: str):
    """Given a text, when it becomes tokens and these text, then nothing is lost or added."""
    assert loaded.decode(tuple(loaded.encode(text, start=False))) == text


def test_special_tokens_are_known(loaded: LoadedModel):
    """Given the vocabulary, when it is read, then Phi-3's marks are special, and three are ends."""
    vocabulary = loaded.vocabulary
    assert {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"} <= set(vocabulary.special_texts)
    ends = {vocabulary.pieces[token] for token in vocabulary.stop}
    assert ends == {b"<|endoftext|>", b"<|assistant|>", b"<|end|>"}
    assert not any(vocabulary.pieces[token].isspace() for token in vocabulary.special)


async def test_a_conversation_and_its_text_are_the_same_prompt(phi3: Subject):
    """Given a conversation and its rendered text, when counted, then both have nine tokens."""
    chatted = await phi3.answer(ChatCall(BRIEF, sampling=COUNT))
    completed = await phi3.answer(CompletionCall((RENDERED,), sampling=COUNT))
    assert chatted.usage.prompt_tokens == completed.usage.prompt_tokens == RENDERED_TOKENS


async def test_a_later_turn_is_one_of_its_own(phi3: Subject):
    """Given an answered question, when another follows, then each turn adds its marks."""
    messages = (*BRIEF, AssistantMessage("Hello"), UserMessage((TextPart("Phi"),)))
    answer = await phi3.answer(ChatCall(messages, sampling=COUNT))
    assert answer.usage.prompt_tokens == RENDERED_TOKENS + 2 + 3 + 1


async def test_each_end_of_a_turn_ends_the_answer(phi3: Subject):
    """Given answers at random, when any of the three ends comes, then the answer stops unseen."""
    sampling = msgspec.structs.replace(WILD, n=8, seed=1)
    answer = await phi3.answer(ChatCall(BRIEF, sampling=sampling))
    assert "stop" in {choice.finish_reason for choice in answer.choices}
    assert not any("<|" in choice.text for choice in answer.choices)


async def test_an_answer_does_not_begin_with_a_blank(phi3: Subject):
    """Given first words that carry a blank, when they are chatted, then it is not said."""
    sampling = Sampling(temperature=1.5, n=16, max_tokens=1, seed=3)
    chatted = await phi3.answer(ChatCall(BRIEF, sampling=sampling))
    completed = await phi3.answer(CompletionCall((RENDERED,), sampling=sampling))
    assert any(choice.text.startswith(" ") for choice in completed.choices)
    assert not any(choice.text.startswith(" ") for choice in chatted.choices)


@pytest.mark.parametrize(
    "asked",
    [
        {"min_p": 1},
        {"top_k": 0},
        {"top_k": 2**31 - 1},
        {"top_p": 1e-30},
        {"temperature": 1e-30},
        {"temperature": 0.0011},
        {"repetition_penalty": 0.01},
        {"repetition_penalty": 10},
        {"frequency_penalty": -2, "presence_penalty": -2},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1, "n": 2},
        {"max_tokens": 2**31 - 1},
        {"stop": ("", "x" * 100_000)},
        {"stop_token_ids": tuple(range(100)), "ignore_eos": True},
    ],
)
async def test_the_edges_of_every_range_are_taken(phi3: Subject, asked: dict[str, Any]):
    """Given a parameter at the edge of its range, when it is used, then an answer comes."""
    sampling = Sampling(**{"temperature": 1, "max_tokens": 4, **asked})
    answer = await phi3.say("Hello Phi", sampling=sampling)
    assert answer.usage.completion_tokens > 0


async def test_unknown_stop_tokens_are_refused(phi3: Subject):
    """Given a stop token that the model does not have, when it is sent, then it is refused."""
    with pytest.raises(InvalidParameter) as refusal:
        await phi3.say("Hello", stop_token_ids=(2**100,))
    assert refusal.value.location == ("stop_token_ids",)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
async def test_odd_text_is_answered(phi3: Subject, text: str):
    """Given text that nobody expects, when it is chatted, then an answer comes."""
    assert (await phi3.say(text, max_tokens=4)).usage.prompt_tokens >= 3


async def test_a_prompt_beyond_the_context_is_refused(phi3: Subject):
    """Given a prompt that the tokenizer would cut in silence, when sent, then it is refused."""
    assert phi3.capabilities.context_length == CONTEXT_LENGTH
    with pytest.raises(PromptTooLong, match=f"is {CONTEXT_LENGTH} tokens"):
        await phi3.say("Hello " * CONTEXT_LENGTH, sampling=COUNT)


async def test_nonsense_satisfies_its_schema(phi3: Subject):
    """Given a model that says anything, when a schema holds it, then every answer satisfies it."""
    sampling = msgspec.structs.replace(WILD, n=16, seed=5)
    answer = await phi3.say("x", sampling=sampling, format=JsonSchema("nonsense", NONSENSE_SCHEMA))
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        msgspec.json.decode(choice.text, type=Nonsense)
    assert len({choice.text for choice in answer.choices}) == 16


async def test_nonsense_calls_its_tools_right(phi3: Subject):
    """Given a model that says anything, when it must call tools, then every call is valid."""
    sampling = msgspec.structs.replace(WILD, n=8, seed=6)
    answer = await phi3.say(
        "x",
        sampling=sampling,
        tools=(CLOCK, Tool("nonsense", NONSENSE_SCHEMA)),
        tool_choice="required",
        parallel_tool_calls=False,
    )
    called = [choice.tool_calls[0] for choice in answer.choices]
    assert {call.name for call in called} == {"clock", "nonsense"}
    for call in called:
        msgspec.json.decode(call.arguments, type=Nonsense if call.name == "nonsense" else dict)
