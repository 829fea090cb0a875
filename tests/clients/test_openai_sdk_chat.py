"""Chat, completions and embeddings through openai: OpenAI and AzureOpenAI, sync and async."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from openai_checks import (
    ALL,
    API_VERSION,
    CAPITAL,
    CHAT,
    EMBEDDER,
    TOOL,
    WEATHER,
    AnyClient,
    City,
    events_of,
    settled,
)

from servers import RunningServer

KINDS = {"v1": OpenAI, "azure-async": AsyncAzureOpenAI}
if ALL:
    KINDS |= {"v1-async": AsyncOpenAI, "azure": AzureOpenAI}


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, server: RunningServer) -> AsyncIterator[AnyClient]:
    """A client as a program makes it: endpoint and key."""
    kind = KINDS[request.param]
    made: AnyClient
    if issubclass(kind, AzureOpenAI | AsyncAzureOpenAI):
        made = kind(azure_endpoint=server.endpoint, api_key=server.key, api_version=API_VERSION)
    else:
        made = kind(base_url=f"{server.endpoint}/openai/v1", api_key=server.key)
    yield made
    await settled(made.close())


async def test_a_question_is_answered(client: AnyClient):
    answer = await settled(
        client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0)
    )
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == CHAT
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


async def test_an_answer_is_streamed_with_its_usage(client: AnyClient):
    chunks = await events_of(
        client.chat.completions.create(
            model=CHAT,
            messages=CAPITAL,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last = chunks
    assert "Paris" in "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert all(piece.usage is None for piece in pieces)
    assert last.choices == []
    assert last.usage.completion_tokens > 0


CHOICES = ["required", {"type": "function", "function": {"name": "get_weather"}}]


@pytest.mark.parametrize("choice", CHOICES if ALL else CHOICES[1:], ids=str)
async def test_a_tool_is_called_and_its_result_taken_back(client: AnyClient, choice):
    asked = await settled(
        client.chat.completions.create(
            model=CHAT,
            messages=WEATHER,
            tools=[TOOL],
            tool_choice=choice,
            parallel_tool_calls=False,
            temperature=0,
        )
    )
    assert asked.choices[0].finish_reason == "tool_calls"
    (call,) = asked.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["unit"] in ("celsius", "fahrenheit")
    # The message goes back as the SDK's own object, nulls and all.
    result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
    told = await settled(
        client.chat.completions.create(
            model=CHAT,
            messages=[*WEATHER, asked.choices[0].message, result],
            tools=[TOOL],
            tool_choice="none",
            max_tokens=16,
        )
    )
    assert told.choices[0].message.content


async def test_an_answer_is_parsed_into_a_class(client: AnyClient):
    answer = await settled(
        client.chat.completions.parse(
            model=CHAT, messages=CAPITAL, response_format=City, temperature=0
        )
    )
    assert isinstance(answer.choices[0].message.parsed, City)


async def test_texts_are_embedded(client: AnyClient):
    answer = await settled(client.embeddings.create(model=EMBEDDER, input=["a cat", "a dog"]))
    assert [item.index for item in answer.data] == [0, 1]
    for item in answer.data:
        assert len(item.embedding) == 384
        assert abs(sum(x * x for x in item.embedding) - 1) < 0.01
    assert answer.usage.prompt_tokens > 0


async def test_token_ids_are_not_embedded_as_something_else(client: AnyClient):
    with pytest.raises(openai.BadRequestError, match="another model") as refusal:
        await settled(client.embeddings.create(model=EMBEDDER, input=[9906, 1917]))
    assert refusal.value.code == "unsupported_parameter"
    assert refusal.value.param == "input"


async def test_a_text_is_completed(client: AnyClient):
    answer = await settled(
        client.completions.create(model=CHAT, prompt=["Once upon", "The sea"], max_tokens=4)
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.text for choice in answer.choices)
    pieces = await events_of(
        client.completions.create(model=CHAT, prompt="Once upon", max_tokens=4, stream=True)
    )
    assert pieces[-1].choices[0].finish_reason == "length"


async def test_several_answers_to_one_question(client: AnyClient):
    answer = await settled(
        client.chat.completions.create(
            model=CHAT, messages=CAPITAL, n=2, seed=1, max_completion_tokens=4
        )
    )
    assert [choice.index for choice in answer.choices] == [0, 1]


async def test_the_chance_of_each_token_is_told(client: AnyClient):
    answer = await settled(
        client.chat.completions.create(
            model=CHAT, messages=CAPITAL, logprobs=True, max_tokens=4, temperature=0
        )
    )
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert all(token.logprob <= 0 for token in tokens)


async def test_models_are_listed_and_shown(client: AnyClient):
    names = {model.id for model in (await settled(client.models.list())).data}
    assert {CHAT, EMBEDDER} <= names
    assert (await settled(client.models.retrieve(CHAT))).id == CHAT


async def test_a_refusal_has_its_own_class(client: AnyClient):
    azure = isinstance(client, AzureOpenAI | AsyncAzureOpenAI)
    with pytest.raises(openai.NotFoundError) as missing:
        await settled(client.chat.completions.create(model="gpt-9", messages=CAPITAL))
    assert missing.value.code == ("DeploymentNotFound" if azure else "unknown_model")
    with pytest.raises(openai.AuthenticationError):
        await settled(
            client.with_options(api_key="wrong").chat.completions.create(
                model=CHAT, messages=CAPITAL
            )
        )
    with pytest.raises(openai.BadRequestError) as wrong:
        await settled(client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=3))
    assert wrong.value.param == "temperature"
