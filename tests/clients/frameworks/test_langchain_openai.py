"""langchain-openai: ChatOpenAI and AzureChatOpenAI, with their embeddings."""

from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import BaseMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import (
    AzureChatOpenAI,
    AzureOpenAIEmbeddings,
    ChatOpenAI,
    OpenAI,
    OpenAIEmbeddings,
)
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
    V1,
    WEATHER_QUESTION,
    check_vector,
)

KINDS = ["v1", "v1-responses", "azure", "azure-responses"]


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


@tool
def get_weather(city: Literal["Paris", "Rome"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather in a city."""
    return f"It is 21 degrees {unit} in {city}."


def make_chat(kind: str, model: str = CHAT, **options: Any) -> ChatOpenAI | AzureChatOpenAI:
    options = {"temperature": 0, "use_responses_api": kind.endswith("responses"), **options}
    if kind.startswith("v1"):
        return ChatOpenAI(base_url=V1, api_key=KEY, model=model, **options)
    return AzureChatOpenAI(
        azure_endpoint=ENDPOINT,
        azure_deployment=model,
        api_version=API_VERSION,
        api_key=KEY,
        model=model if kind.endswith("responses") else None,
        **options,
    )


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which class, over which API."""
    return str(request.param)


def test_an_answer(kind: str):
    answer = make_chat(kind, max_tokens=MAX_TOKENS).invoke(QUESTION)
    assert answer.text
    assert 0 < answer.usage_metadata["output_tokens"] <= MAX_TOKENS


async def test_a_stream(kind: str):
    chat = make_chat(kind, max_tokens=MAX_TOKENS, stream_usage=True)
    whole: BaseMessageChunk | None = None
    async for chunk in chat.astream(QUESTION):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.text == chat.invoke(QUESTION).text
    assert 0 < whole.usage_metadata["output_tokens"] <= MAX_TOKENS


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_a_tool_is_called_and_answered(kind: str, choice: str):
    chat = make_chat(kind)
    bound = chat.bind_tools([get_weather], tool_choice=choice, parallel_tool_calls=False)
    question = HumanMessage(WEATHER_QUESTION)
    asked = bound.invoke([question])
    (call,) = asked.tool_calls
    assert call["args"]["unit"] in UNITS
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    told = make_chat(kind, max_tokens=MAX_TOKENS).invoke([question, asked, result])
    assert told.text


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer(kind: str, method: str):
    filler = make_chat(kind).with_structured_output(Weather, method=method)
    assert isinstance(filler.invoke(WEATHER_QUESTION), Weather)


def test_a_completion():
    model = OpenAI(base_url=V1, api_key=KEY, model=CHAT, max_tokens=8)
    assert model.invoke("Once upon a time")


@pytest.mark.parametrize("azure", [False, True])
def test_embeddings(azure: bool):
    # By default langchain sends cl100k token ids, which no other model can read.
    shared: dict[str, Any] = {"api_key": KEY, "check_embedding_ctx_length": False}
    if azure:
        made: Any = AzureOpenAIEmbeddings(
            azure_endpoint=ENDPOINT, azure_deployment=EMBEDDER, api_version=API_VERSION, **shared
        )
    else:
        made = OpenAIEmbeddings(base_url=V1, model=EMBEDDER, **shared)
    one, _ = made.embed_documents(["a cat", "a dog"])
    check_vector(one)
    check_vector(made.embed_query("a cat"))


@pytest.mark.parametrize("kind", ["v1", "azure"])
def test_an_unknown_model_is_not_found(kind: str):
    with pytest.raises(openai.NotFoundError) as refusal:
        make_chat(kind, "gpt-9").invoke("hi")
    expected = "unknown_model" if kind == "v1" else "DeploymentNotFound"
    assert refusal.value.code == expected
