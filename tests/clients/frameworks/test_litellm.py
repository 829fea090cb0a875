"""LiteLLM through its providers azure_ai, azure and openai."""

import json
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from pydantic import BaseModel
from under_test import (
    API_VERSION,
    CHAT,
    EMBEDDER,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    UNITS,
    V1,
    WEATHER_NAME,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    check_vector,
    get_weather,
)

# LiteLLM believes that models unknown to it take no tool choice on azure_ai.
ALLOWED = ["tool_choice", "parallel_tool_calls"]
PROVIDERS: dict[str, dict[str, Any]] = {
    "azure_ai": {"api_base": ENDPOINT, "api_key": KEY, "allowed_openai_params": ALLOWED},
    "azure": {"api_base": ENDPOINT, "api_key": KEY, "api_version": API_VERSION},
    "openai": {"api_base": V1, "api_key": KEY},
}
NAMED = {"type": "function", "function": {"name": WEATHER_NAME}}


class Place(BaseModel):
    """A city in its country."""

    city: str
    country: str


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """The name that models are prefixed with."""
    return str(request.param)


@pytest.fixture
def ask(provider: str) -> Callable[..., Any]:
    """litellm.completion with the provider's address."""

    def completion(said: str = QUESTION, **extra: Any) -> Any:
        messages = extra.pop("messages", [{"role": "user", "content": said}])
        extra = {"model": f"{provider}/{CHAT}", "temperature": 0, **extra}
        return litellm.completion(messages=messages, **PROVIDERS[provider], **extra)

    return completion


def test_an_answer(ask: Callable[..., Any]):
    answer = ask(max_tokens=MAX_TOKENS)
    assert answer.choices[0].message.content
    assert 0 < answer.usage.completion_tokens <= MAX_TOKENS
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_an_answer_awaited(provider: str):
    answer = await litellm.acompletion(
        model=f"{provider}/{CHAT}",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=MAX_TOKENS,
        **PROVIDERS[provider],
    )
    assert answer.choices[0].message.content


def test_a_stream(ask: Callable[..., Any]):
    chunks = list(ask(stream=True, stream_options={"include_usage": True}, max_tokens=MAX_TOKENS))
    streamed = litellm.stream_chunk_builder(chunks)
    whole = ask(max_tokens=MAX_TOKENS)
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert streamed.choices[0].finish_reason == whole.choices[0].finish_reason
    assert streamed.usage.completion_tokens == whole.usage.completion_tokens


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_tool_is_called_and_answered(ask: Callable[..., Any], choice: Any):
    messages: list[Any] = [{"role": "user", "content": WEATHER_QUESTION}]
    asked = ask(
        messages=messages, tools=[WEATHER_TOOL], tool_choice=choice, parallel_tool_calls=False
    )
    assert asked.choices[0].finish_reason == "tool_calls"
    call = asked.choices[0].message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    assert arguments["unit"] in UNITS
    result = {"role": "tool", "tool_call_id": call.id, "name": WEATHER_NAME}
    messages += [asked.choices[0].message, {**result, "content": get_weather(**arguments)}]
    told = ask(messages=messages, tools=[WEATHER_TOOL], tool_choice="none", max_tokens=MAX_TOKENS)
    assert told.choices[0].message.content


def test_a_streamed_call(ask: Callable[..., Any]):
    chunks = list(ask(WEATHER_QUESTION, tools=[WEATHER_TOOL], tool_choice="required", stream=True))
    call = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls[0]
    assert call.function.name == WEATHER_NAME
    assert json.loads(call.function.arguments)["unit"] in UNITS


def test_a_structured_answer(ask: Callable[..., Any]):
    answer = ask("Paris is in France. Say it as JSON.", response_format=Place)
    Place.model_validate_json(answer.choices[0].message.content)


def test_embeddings(provider: str):
    answer = litellm.embedding(
        model=f"{provider}/{EMBEDDER}", input=["a cat", "a dog"], **PROVIDERS[provider]
    )
    assert [item["index"] for item in answer.data] == [0, 1]
    for item in answer.data:
        check_vector(item["embedding"])
    assert answer.usage.prompt_tokens > 0


def test_an_unknown_model_is_refused(provider: str):
    # 400 on azure_ai; on OpenAI v1 a 404 that LiteLLM takes for a bad request, since it goes by
    # OpenAI's own code for it.
    expected = litellm.NotFoundError if provider == "azure" else litellm.BadRequestError
    with pytest.raises(expected) as refusal:
        litellm.completion(
            model=f"{provider}/gpt-9",
            messages=[{"role": "user", "content": "hi"}],
            **PROVIDERS[provider],
        )
    assert "gpt-9" in str(refusal.value)


def test_a_wrong_key_is_refused(provider: str):
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(
            model=f"{provider}/{CHAT}",
            messages=[{"role": "user", "content": "hi"}],
            **{**PROVIDERS[provider], "api_key": "wrong"},
        )


def test_parameters_of_openai_reach_the_model(provider: str, ask: Callable[..., Any]):
    # Without the header, LiteLLM reads the refusal of `azure_ai`, drops what it names and retries.
    headers = {"extra-parameters": "pass-through"}
    answer = ask(n=2, seed=1, user="somebody", max_tokens=4, headers=headers)
    assert len(answer.choices) == 2
    plain = ask(n=2, seed=1, user="somebody", max_tokens=4)
    assert len(plain.choices) == (1 if provider == "azure_ai" else 2)
