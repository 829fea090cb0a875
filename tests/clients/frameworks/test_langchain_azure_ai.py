"""langchain-azure-ai: today's classes over OpenAI v1, and those over azure-ai-inference."""

from typing import Any, Literal

import openai
import pytest
from azure.core.exceptions import HttpResponseError
from langchain_azure_ai.chat_models import AzureAIOpenAIApiChatModel
from langchain_azure_ai.chat_models.inference import AzureAIChatCompletionsModel
from langchain_azure_ai.embeddings import AzureAIOpenAIApiEmbeddingsModel
from langchain_azure_ai.embeddings.inference import AzureAIEmbeddingsModel
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessageChunk, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from under_test import (
    CHAT,
    EMBEDDER,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    UNITS,
    V1,
    WEATHER_QUESTION,
    check_vector,
)

KINDS = ["inference", "openai", "openai-responses"]


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


@tool
def get_weather(city: Literal["Paris", "Rome"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather in a city."""
    return f"It is 21 degrees {unit} in {city}."


def make_chat(kind: str, model: str = CHAT, **options: Any) -> BaseChatModel:
    options = {"credential": KEY, "model": model, "temperature": 0, **options}
    if kind == "inference":
        return AzureAIChatCompletionsModel(endpoint=ENDPOINT, **options)
    responses = kind.endswith("responses")
    return AzureAIOpenAIApiChatModel(endpoint=V1, use_responses_api=responses, **options)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which class, over which API."""
    return str(request.param)


def test_an_answer(kind: str):
    answer = make_chat(kind, max_tokens=MAX_TOKENS).invoke(QUESTION)
    assert answer.text
    assert 0 < answer.usage_metadata["output_tokens"] <= MAX_TOKENS


async def test_a_stream(kind: str):
    chat = make_chat(kind, max_tokens=MAX_TOKENS)
    whole: BaseMessageChunk | None = None
    async for chunk in chat.astream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    if kind != "inference":  # that class leaves a temperature of 0 out
        assert whole.text == chat.invoke(QUESTION).text
    assert whole.text


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_a_tool_is_called_and_answered(kind: str, choice: str):
    bound = make_chat(kind).bind_tools([get_weather], tool_choice=choice)
    question = HumanMessage(WEATHER_QUESTION)
    asked = bound.invoke([question])
    results = [get_weather.invoke(call) for call in asked.tool_calls]
    assert results
    assert asked.tool_calls[0]["args"]["unit"] in UNITS
    told = make_chat(kind, max_tokens=MAX_TOKENS).invoke([question, asked, *results])
    assert told.text


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer(kind: str, method: str):
    filler = make_chat(kind).with_structured_output(Weather, method=method)
    assert isinstance(filler.invoke(WEATHER_QUESTION), Weather)


async def test_embeddings():
    old = AzureAIEmbeddingsModel(endpoint=ENDPOINT, credential=KEY, model=EMBEDDER)
    new = AzureAIOpenAIApiEmbeddingsModel(
        endpoint=V1, credential=KEY, model=EMBEDDER, check_embedding_ctx_length=False
    )
    for model in (old, new):
        one, _ = model.embed_documents(["a cat", "a dog"])
        check_vector(one)
        check_vector(await model.aembed_query("a cat"))


def test_an_unknown_model_is_refused(kind: str):
    expected = HttpResponseError if kind == "inference" else openai.NotFoundError
    with pytest.raises(expected, match="gpt-9") as refusal:
        make_chat(kind, "gpt-9").invoke("hi")
    assert refusal.value.status_code == (400 if kind == "inference" else 404)
