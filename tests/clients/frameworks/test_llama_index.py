"""LlamaIndex: its classes for Azure AI Model Inference and for Azure OpenAI."""

from typing import Literal

import openai
import pytest
from azure.ai.inference.models import JsonSchemaFormat
from azure.core.exceptions import HttpResponseError
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.azure_inference import AzureAIEmbeddingsModel
from llama_index.embeddings.azure_openai import AzureOpenAIEmbedding
from llama_index.llms.azure_inference import AzureAICompletionsModel
from llama_index.llms.azure_openai import AzureOpenAI
from pydantic import BaseModel, Field
from under_test import (
    API_VERSION,
    CHAT,
    EMBEDDER,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    UNITS,
    WEATHER_QUESTION,
    check_vector,
    dot,
)
from under_test import get_weather as look_up

LONG_ENOUGH = 256
KINDS = ["azure_inference", "azure_openai"]


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


def get_weather(city: Literal["Paris", "Rome"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather in a city."""
    return look_up(city, unit)


TOOL = FunctionTool.from_defaults(get_weather)


def make_model(kind: str, model: str = CHAT, max_tokens: int = MAX_TOKENS) -> FunctionCallingLLM:
    if kind == "azure_inference":
        return AzureAICompletionsModel(
            endpoint=ENDPOINT,
            credential=KEY,
            model_name=model,
            max_tokens=max_tokens,
            temperature=0.0,
        )
    return AzureOpenAI(
        engine=model,
        model="gpt-4o",  # LlamaIndex must know it; the deployment decides
        azure_endpoint=ENDPOINT,
        api_key=KEY,
        api_version=API_VERSION,
        max_tokens=max_tokens,
        temperature=0.0,
    )


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which class."""
    return str(request.param)


def ask(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


async def test_an_answer(kind: str):
    answer = make_model(kind).chat(ask(QUESTION))
    assert answer.message.content
    awaited = await make_model(kind).achat(ask(QUESTION))
    assert awaited.message.content == answer.message.content


async def test_a_stream(kind: str):
    last = list(make_model(kind).stream_chat(ask(QUESTION)))[-1]
    pieces = [piece async for piece in await make_model(kind).astream_chat(ask(QUESTION))]
    assert len(pieces) > 1
    assert last.message.content == "".join(piece.delta or "" for piece in pieces)


def test_a_tool_is_called_and_answered(kind: str):
    model = make_model(kind, max_tokens=LONG_ENOUGH)
    asked = model.chat_with_tools([TOOL], WEATHER_QUESTION, tool_required=True)
    call = model.get_tool_calls_from_response(asked)[0]
    assert call.tool_kwargs["unit"] in UNITS
    result = TOOL.call(**call.tool_kwargs)
    history = [
        *ask(WEATHER_QUESTION),
        asked.message,
        ChatMessage(
            role="tool", content=result.content, additional_kwargs={"tool_call_id": call.tool_id}
        ),
    ]
    assert make_model(kind).chat(history).message.content


def test_a_structured_answer():
    filler = make_model("azure_openai", max_tokens=LONG_ENOUGH).as_structured_llm(Weather)
    assert isinstance(filler.chat(ask(WEATHER_QUESTION)).raw, Weather)


def test_an_answer_under_a_schema():
    # LlamaIndex asks this class in words alone; the schema goes to the SDK below it.
    form = JsonSchemaFormat(name="weather", schema=Weather.model_json_schema(), strict=True)
    model = make_model("azure_inference", max_tokens=LONG_ENOUGH)
    answer = model.chat(ask(WEATHER_QUESTION), response_format=form)
    Weather.model_validate_json(answer.message.content)


def test_a_model_introduces_itself():
    facts = make_model("azure_inference").metadata
    assert facts.model_name == CHAT


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings(kind: str):
    model: BaseEmbedding
    if kind == "azure_inference":
        model = AzureAIEmbeddingsModel(endpoint=ENDPOINT, credential=KEY, model_name=EMBEDDER)
    else:
        model = AzureOpenAIEmbedding(
            deployment_name=EMBEDDER,
            model="text-embedding-ada-002",
            azure_endpoint=ENDPOINT,
            api_key=KEY,
            api_version=API_VERSION,
        )
    cat, dog, tax = model.get_text_embedding_batch(["a cat", "a dog", "the tax law of 1842"])
    check_vector(cat)
    assert dot(cat, dog) > dot(cat, tax)
    check_vector(model.get_query_embedding("a cat"))


def test_an_unknown_model_is_refused(kind: str):
    expected = HttpResponseError if kind == "azure_inference" else openai.NotFoundError
    with pytest.raises(expected, match="gpt-9") as refusal:
        make_model(kind, "gpt-9").chat(ask("hi"))
    assert refusal.value.status_code == (400 if kind == "azure_inference" else 404)
