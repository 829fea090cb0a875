"""What every engine does alike: one suite, run on each."""

import asyncio
import re
import struct
from contextlib import aclosing
from typing import Annotated

import msgspec
import pytest
from conformance import GREEDY, PERSON, SUBJECTS, Person, Subject, chat_call, until
from msgspec import Meta

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    CompletionCall,
    EmbedCall,
    JsonSchema,
    NamedTool,
    Sampling,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.deltas import Finish, TextDelta, ToolCallDelta, Usage
from zaffre.core.engine import EmbeddingEngine
from zaffre.core.errors import InvalidParameter, PromptTooLong
from zaffre.engines.table import ENGINES

FEW = Sampling(temperature=0, max_tokens=6)
"""So few that two prompts in one batch, whose sums are rounded otherwise, still draw the same."""
QUESTION = "What is the capital of France, and what is it known for?"
ODD_TEXTS = {
    "empty": "",
    "blank": " \n\t",
    "control characters": "a\x00b\x07\x1b[31m",
    "noncharacters": "a\ufdd0\ufffe\U0010ffffb",
    "right to left": "\u202eשלום\u202c مرحبا",
    "joined emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
    "special tokens": "<|im_end|><|im_start|>system\n<|endoftext|></s>[INST]",
    "templates": "{{ 7*7 }} {% raise %} ${x} %s",
}
KOREAN = "다음 문장을 그대로 따라 쓰세요: 안녕하세요 😀👩‍👩‍👧 반갑습니다!"


class WeatherArguments(msgspec.Struct, forbid_unknown_fields=True):
    city: Annotated[str, Meta(max_length=30)]
    unit: str = "c"


WEATHER = Tool(
    "get_weather",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 30},
            "unit": {"type": "string", "enum": ["c", "f"]},
        },
        "required": ["city"],
    },
    "The weather in a city.",
)
CLOCK = Tool("clock", {}, "The time.")


def test_every_engine_is_here():
    """Given the table of engines, when the suite is read, then it runs each of them."""
    assert set(SUBJECTS) == set(ENGINES)


# --- order and sums ----------------------------------------------------------------------------


async def test_deltas_come_in_the_order_of_the_contract(generating: Subject):
    """Given a call, when its deltas come, then text, one `Finish`, and one `Usage` at the end."""
    *said, finish, usage = await generating.deltas(chat_call(QUESTION, max_tokens=24))
    assert said
    assert all(isinstance(delta, TextDelta) and delta.text for delta in said)
    assert isinstance(finish, Finish)
    assert isinstance(usage, Usage)


async def test_greedy_answers_repeat(generating: Subject):
    """Given temperature 0, when a call is made twice, then streamed text and answer are equal."""
    call = chat_call(QUESTION, max_tokens=24)
    streamed = [delta async for delta in generating.begin(call) if isinstance(delta, TextDelta)]
    answer = await generating.answer(call)
    assert "".join(delta.text for delta in streamed) == answer.choices[0].text != ""


async def test_max_tokens_ends_with_length(generating: Subject):
    """Given a bound on tokens, when it is reached, then reason and usage say so."""
    answer = await generating.say(QUESTION, max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens > 5


async def test_no_tokens_are_no_text(model: Subject):
    """Given a bound of 0, when the call is made, then the prompt is counted and nothing is said."""
    answer = await model.say(QUESTION, max_tokens=0)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "length")
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.completion_tokens == 0


async def test_usage_counts_the_prompt_once(model: Subject):
    """Given three choices, when they are complete, then the prompt counts once, answers thrice."""
    one = await model.say(QUESTION, max_tokens=0)
    sampling = Sampling(n=3, max_tokens=6, ignore_eos=True, seed=1)
    three = await model.say(QUESTION, sampling=sampling)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert three.usage == Usage(one.usage.prompt_tokens, 18, three.usage.cached_tokens)


async def test_prompts_of_one_call_are_numbered(generating: Subject):
    """Given several prompts, when they are continued, then the indices run over them."""
    call = CompletionCall(("one two three", "red green blue"), sampling=FEW)
    both = await generating.answer(call)
    alone = [await generating.answer(CompletionCall((p,), sampling=FEW)) for p in call.prompts]
    assert [choice.text for choice in both.choices] == [a.choices[0].text for a in alone]
    assert both.usage.prompt_tokens == sum(a.usage.prompt_tokens for a in alone)


# --- stopping ----------------------------------------------------------------------------------


async def test_stop_texts_cut_exactly(generating: Subject):
    """Given a stop text across tokens, when it comes, then the answer ends right before it."""
    whole = (await generating.say(QUESTION, max_tokens=24)).choices[0].text
    stop = whole[len(whole) // 2 - 3 : len(whole) // 2 + 4]
    answer = await generating.say(QUESTION, max_tokens=24, stop=("no such text", stop))
    assert answer.choices[0].text == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


async def test_text_that_only_begins_a_stop_is_said(generating: Subject):
    """Given a stop text that never completes, when the answer ends, then nothing is missing."""
    whole = (await generating.say(QUESTION, max_tokens=24)).choices[0].text
    answer = await generating.say(QUESTION, max_tokens=24, stop=(whole[-5:] + "\x01",))
    assert answer.choices[0].text == whole


async def test_cancelling_frees_the_slot(generating: Subject):
    """Given an answer under way, when it is closed, then the engine is idle again."""
    text = "/slow 5 " + "word " * 400 if generating.name == "echo" else "Tell me a long story."
    extra = {} if generating.name == "echo" else {"ignore_eos": True}
    async with aclosing(generating.begin(chat_call(text, max_tokens=400, **extra))) as deltas:
        assert isinstance(await anext(deltas), TextDelta)
        assert generating.engine.health().active == 1
    assert await generating.idle()


async def test_a_cancelled_task_frees_the_slot(model: Subject):
    """Given a task that reads a long answer, when it is cancelled, then the engine is idle."""
    call = chat_call("Tell me a long story.", max_tokens=2000, ignore_eos=True)
    task = asyncio.create_task(model.answer(call))
    assert await until(lambda: model.engine.health().active == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await model.idle()


# --- drawing -----------------------------------------------------------------------------------


async def test_a_seed_repeats(model: Subject):
    """Given a seed, when a call is made twice, then the texts are equal; others are not."""
    sampling = Sampling(temperature=1, max_tokens=16, seed=7, ignore_eos=True)
    first = await model.say(QUESTION, sampling=sampling)
    again = await model.say(QUESTION, sampling=sampling)
    other = await model.say(QUESTION, sampling=msgspec.structs.replace(sampling, seed=8))
    assert again.choices[0].text == first.choices[0].text
    assert other.choices[0].text != first.choices[0].text


async def test_choices_differ(model: Subject):
    """Given several choices, when they are drawn, then they are not copies of each other."""
    answer = await model.say(QUESTION, sampling=Sampling(n=4, seed=3, max_tokens=16))
    assert len({choice.text for choice in answer.choices}) > 1


async def test_without_a_seed_answers_differ(model: Subject):
    """Given no seed, when a call is made several times, then the texts are not all equal."""
    sampling = Sampling(temperature=1.5, max_tokens=12)
    answers = [await model.say(QUESTION, sampling=sampling) for _ in range(3)]
    assert len({answer.choices[0].text for answer in answers}) > 1


@pytest.mark.parametrize("asked", [{"temperature": 0}, {"top_k": 1}, {"top_p": 0}])
async def test_the_most_likely_token_is_the_greedy_one(model: Subject, asked: dict[str, float]):
    """Given three ways to ask for the likeliest token, when drawn, then the texts are equal."""
    greedy = await model.say(QUESTION, sampling=GREEDY)
    sampling = Sampling(**{"max_tokens": GREEDY.max_tokens, "seed": 5, **asked})
    assert (await model.say(QUESTION, sampling=sampling)).choices[0].text == greedy.choices[0].text


async def test_penalties_keep_a_model_from_repeating_itself(model: Subject):
    """Given a prompt that invites repetition, when it is penalised, then there is less of it."""
    call = CompletionCall(("a b a b a b a b a b",), sampling=GREEDY)
    plain = await model.answer(call)
    sampling = msgspec.structs.replace(GREEDY, frequency_penalty=2, presence_penalty=2)
    varied = await model.answer(msgspec.structs.replace(call, sampling=sampling))
    assert len(set(varied.choices[0].text.split())) > len(set(plain.choices[0].text.split()))


async def test_scores_of_tokens_add_up_to_the_text(model: Subject):
    """Given a wish for log probabilities, when text comes, then each of its tokens has one."""
    answer = await model.say(QUESTION, sampling=msgspec.structs.replace(GREEDY, logprobs=0))
    scored = answer.choices[0].logprobs
    assert b"".join(token.content for token in scored) == answer.choices[0].text.encode()
    assert all(token.logprob <= 0 for token in scored)
    assert any(token.logprob < -0.01 for token in scored)


async def test_the_best_of_several_is_the_likeliest(model: Subject):
    """Given `best_of`, when one of six is chosen, then all are paid for and one comes."""
    call = CompletionCall(("The capital of France is",), Sampling(max_tokens=3, seed=1), best_of=6)
    answer = await model.answer(call)
    assert len(answer.choices) == 1
    assert answer.choices[0].logprobs == []
    assert 6 <= answer.usage.completion_tokens <= 18


# --- many at once ------------------------------------------------------------------------------


async def test_sixteen_at_once_get_their_own_answers(generating: Subject):
    """Given sixteen calls at the same time, when they are answered, then none is another's."""
    starts = [10 * n for n in range(1, 17)]
    calls = [
        CompletionCall((f"{n}, {n + 1}, {n + 2}, {n + 3},",), Sampling(temperature=0, max_tokens=6))
        for n in starts
    ]
    answers = await asyncio.gather(*(generating.answer(call) for call in calls))
    said = [answer.choices[0].text for answer in answers]
    assert all(
        str(n + (0 if generating.name == "echo" else 4)) in text
        for n, text in zip(starts, said, strict=True)
    )
    assert await generating.idle()


# --- input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
async def test_odd_text_is_answered(generating: Subject, text: str):
    """Given text that nobody expects, when it is chatted or completed, then an answer comes."""
    chatted = await generating.say(text, max_tokens=4)
    completed = await generating.answer(
        CompletionCall((text,), sampling=Sampling(temperature=0, max_tokens=4))
    )
    assert chatted.usage.prompt_tokens > 0
    assert completed.usage.prompt_tokens > 0
    (chatted.choices[0].text + completed.choices[0].text).encode()


async def test_huge_text_is_refused_with_its_length(generating: Subject):
    """Given a prompt beyond the context, when it is sent, then the refusal counts its tokens."""
    words = 3 * (generating.capabilities.context_length or 0)
    with pytest.raises(PromptTooLong) as refusal:
        await generating.say("word " * words, max_tokens=4)
    limit, tokens = (int(number) for number in re.findall(r"\d+", refusal.value.message))
    assert limit == generating.capabilities.context_length
    assert words * 0.9 < tokens < words * 1.1


async def test_one_prompt_too_long_refuses_the_call(model: Subject):
    """Given two prompts of which the second is too long, when sent, then nothing comes before."""
    call = CompletionCall(("short", "word " * 30_000), sampling=GREEDY)
    with pytest.raises(PromptTooLong):
        await anext(model.begin(call))
    assert await model.idle()


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 8, 40])
async def test_characters_are_never_cut(generating: Subject, max_tokens: int):
    """Given Korean and emoji, when the answer ends anywhere, then no character is broken."""
    for delta in await generating.deltas(chat_call(KOREAN, max_tokens=max_tokens)):
        if isinstance(delta, TextDelta):
            assert "\ufffd" not in delta.text
            delta.text.encode()


async def test_token_ids_are_a_prompt(model: Subject):
    """Given token ids, when they are continued and echoed, then as the text they stand for."""
    call = CompletionCall(((504, 3575, 282, 4649, 314),), sampling=GREEDY, echo=True)
    by_ids = await model.answer(call)
    prompt = "The capital of France is"
    by_text = await model.answer(CompletionCall((prompt,), sampling=GREEDY, echo=True))
    assert by_ids.choices[0].text == by_text.choices[0].text
    assert by_text.choices[0].text.startswith(prompt)


async def test_unknown_token_ids_are_refused(model: Subject):
    """Given an id that the model does not have, when it is sent, then the request is refused."""
    with pytest.raises(InvalidParameter) as refusal:
        await model.answer(CompletionCall(((10**9,),), sampling=GREEDY))
    assert refusal.value.location == ("prompt",)


async def test_a_long_dialogue_is_taken(generating: Subject):
    """Given all kinds of messages, tools and their results among them, then an answer comes."""
    messages = (
        SystemMessage("Be brief."),
        UserMessage((TextPart("What time"), TextPart("is it?"))),
        AssistantMessage("", (ToolCall("c1", "clock", "{}"),)),
        ToolMessage("c1", "ten"),
        AssistantMessage("It is ten."),
        UserMessage((TextPart("Thank you."),)),
    )
    answer = await generating.answer(ChatCall(messages, sampling=GREEDY, tools=(CLOCK,)))
    assert answer.usage.prompt_tokens > 8


# --- formats and tools -------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 1])
async def test_an_answer_satisfies_its_schema(model: Subject, temperature: int):
    """Given a schema, when the model answers, then the answer is what the schema describes."""
    sampling = Sampling(temperature=temperature, seed=2, max_tokens=400)
    answer = await model.say("Describe a person.", sampling=sampling, format=PERSON)
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(msgspec.json.decode(answer.choices[0].text, type=Person), Person)


async def test_a_json_object_is_one(model: Subject):
    """Given `json_object`, when the model answers within its bound, then it is an object."""
    question = "Give me the weather as a JSON object"
    answer = await model.say(question, max_tokens=400, format="json_object")
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(msgspec.json.decode(answer.choices[0].text), dict)


async def test_json_that_reaches_the_bound_says_so(model: Subject):
    """Given a bound that is too small for the schema, when it is reached, then it is `length`."""
    answer = await model.say("Describe a person.", max_tokens=4, format=PERSON)
    assert answer.choices[0].finish_reason == "length"


async def test_a_schema_out_of_bounds_is_refused(model: Subject):
    """Given a schema nested too deeply, when it is sent, then the refusal says where it stands."""
    schema: dict[str, object] = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(InvalidParameter) as refusal:
        await model.say("Hi", format=JsonSchema("deep", schema))
    assert refusal.value.location == ("response_format", "json_schema", "schema")
    assert (await model.say("Hi", max_tokens=2)).usage.completion_tokens == 2


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("temperature", [0, 1])
async def test_required_tools_are_called(model: Subject, parallel: bool, temperature: int):
    """Given a required call, when the model answers, then with valid calls and nothing else."""
    sampling = Sampling(temperature=temperature, seed=4, max_tokens=600)
    answer = await model.say(
        "What is the weather in Oslo?",
        sampling=sampling,
        tools=(WEATHER, CLOCK),
        tool_choice="required",
        parallel_tool_calls=parallel,
    )
    calls = answer.choices[0].tool_calls
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "tool_calls")
    assert calls if parallel else len(calls) == 1
    assert len({call.id for call in calls}) == len(calls)
    for call in calls:
        if call.name == "get_weather":
            msgspec.json.decode(call.arguments, type=WeatherArguments)
        else:
            assert (call.name, call.arguments) == ("clock", "{}")


async def test_a_named_tool_is_called_in_one_delta(generating: Subject):
    """Given a named tool, when the model answers, then one delta carries the whole call."""
    call = chat_call(
        "Oslo", max_tokens=200, tools=(CLOCK, WEATHER), tool_choice=NamedTool("get_weather")
    )
    called, finish, _ = await generating.deltas(call)
    assert isinstance(called, ToolCallDelta)
    assert called.call.name == "get_weather"
    assert isinstance(msgspec.json.decode(called.call.arguments), dict)
    assert finish == Finish("tool_calls")


async def test_an_unknown_tool_cannot_be_named(model: Subject):
    """Given a choice that names no tool, when it is sent, then it is refused."""
    with pytest.raises(InvalidParameter) as refusal:
        await model.say("Hi", tools=(CLOCK,), tool_choice=NamedTool("other"))
    assert refusal.value.location == ("tool_choice",)


@pytest.mark.parametrize("choice", ["auto", "none"])
async def test_free_choice_is_answered(model: Subject, choice: str):
    """Given tools that may be called, when the model answers, then with text or whole calls."""
    answer = await model.say(
        "What is the weather in Oslo?", max_tokens=40, tools=(WEATHER, CLOCK), tool_choice=choice
    )
    made = answer.choices[0]
    assert made.text or made.tool_calls
    assert (made.finish_reason == "tool_calls") == bool(made.tool_calls)
    assert choice == "auto" or not made.tool_calls


# --- embeddings --------------------------------------------------------------------------------


async def _embed(subject: Subject, *texts: str) -> list[list[float]]:
    assert isinstance(subject.engine, EmbeddingEngine)
    found = await subject.engine.embed(EmbedCall(texts))
    assert found.usage.prompt_tokens > 0
    return [list(struct.unpack(f"<{len(v) // 4}f", v)) for v in found.vectors]


async def test_vectors_come_in_order(embedding: Subject):
    """Given texts, when they are embedded together, then each has the vector it has alone."""
    texts = ["a cat", "the stock market fell", "ein Hund 🐶", "한국어"]
    together = await _embed(embedding, *texts)
    assert {len(vector) for vector in together} == {embedding.capabilities.dimensions}
    for text, vector in zip(texts, together, strict=True):
        (alone,) = await _embed(embedding, text)
        assert vector == pytest.approx(alone, abs=0.02)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
async def test_odd_text_has_a_vector(embedding: Subject, text: str):
    """Given text that nobody expects, when it is embedded, then its vector has length 1."""
    (vector,) = await _embed(embedding, text)
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-3)


async def test_sixteen_embeddings_at_once_are_their_own(embedding: Subject):
    """Given sixteen calls at once, when they are answered, then none got another's vectors."""
    texts = [f"number {n}" for n in range(16)]
    found = await asyncio.gather(*(_embed(embedding, text) for text in texts))
    for text, (vector,) in zip(texts, found, strict=True):
        assert vector == pytest.approx((await _embed(embedding, text))[0], abs=0.02)
