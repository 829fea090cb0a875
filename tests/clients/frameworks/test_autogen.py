"""AutoGen's model clients for Azure AI Model Inference, OpenAI and Azure OpenAI."""

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import openai
import pytest
from autogen_core import CancellationToken
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    ModelInfo,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import FunctionTool
from autogen_ext.models.azure import AzureAIChatCompletionClient
from autogen_ext.models.openai import AzureOpenAIChatCompletionClient, OpenAIChatCompletionClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from pydantic import BaseModel, Field
from under_test import (
    API_VERSION,
    CHAT,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    UNITS,
    V1,
    WEATHER_NAME,
    WEATHER_QUESTION,
    get_weather,
)

INFO = ModelInfo(
    vision=False, function_calling=True, json_output=True, family="x", structured_output=True
)
KINDS = ["azure_ai", "openai", "azure_openai"]


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


async def weather(city: Literal["Paris", "Rome"], unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather in a city."""
    return get_weather(city, unit)


TOOL = FunctionTool(weather, description="The weather in a city.", name=WEATHER_NAME, strict=True)


def make_client(kind: str, model: str = CHAT) -> ChatCompletionClient:
    match kind:
        case "azure_ai":
            credential = AzureKeyCredential(KEY)
            return AzureAIChatCompletionClient(
                endpoint=ENDPOINT, credential=credential, model=model, model_info=INFO
            )
        case "openai":
            return OpenAIChatCompletionClient(
                model=model, base_url=V1, api_key=KEY, model_info=INFO
            )
        case _:
            return AzureOpenAIChatCompletionClient(
                model=model,
                azure_deployment=model,
                azure_endpoint=ENDPOINT,
                api_version=API_VERSION,
                api_key=KEY,
                model_info=INFO,
            )


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[ChatCompletionClient]:
    """One of the three clients."""
    made = make_client(request.param)
    yield made
    await made.close()


def user(text: str) -> UserMessage:
    return UserMessage(content=text, source="user")


SHORT: dict[str, Any] = {"max_tokens": MAX_TOKENS, "temperature": 0}


async def test_an_answer(client: ChatCompletionClient):
    messages = [SystemMessage(content="Be brief."), user(QUESTION)]
    result = await client.create(messages, extra_create_args=SHORT)
    assert isinstance(result.content, str)
    assert result.content
    assert 0 < result.usage.completion_tokens <= MAX_TOKENS


async def test_a_stream(client: ChatCompletionClient):
    pieces = [
        piece async for piece in client.create_stream([user(QUESTION)], extra_create_args=SHORT)
    ]
    *texts, last = pieces
    assert len(texts) > 1
    assert isinstance(last, CreateResult)
    assert last.content == "".join(texts)


@pytest.mark.parametrize("choice", ["required", TOOL], ids=["required", "named"])
async def test_a_tool_is_called_and_answered(client: ChatCompletionClient, choice: Any):
    asked = await client.create(
        [user(WEATHER_QUESTION)],
        tools=[TOOL],
        tool_choice=choice,
        extra_create_args={"temperature": 0},
    )
    assert asked.finish_reason == "function_calls"
    call = asked.content[0]
    arguments = json.loads(call.arguments)
    assert arguments["unit"] in UNITS
    said = await TOOL.run_json(arguments, CancellationToken())
    result = FunctionExecutionResult(
        call_id=call.id, content=said, name=WEATHER_NAME, is_error=False
    )
    messages = [
        user(WEATHER_QUESTION),
        AssistantMessage(content=[call], source="assistant"),
        FunctionExecutionResultMessage(content=[result]),
    ]
    told = await client.create(messages, tools=[TOOL], tool_choice="none", extra_create_args=SHORT)
    assert isinstance(told.content, str)
    assert told.content


async def test_a_streamed_call(client: ChatCompletionClient):
    stream = client.create_stream(
        [user(WEATHER_QUESTION)],
        tools=[TOOL],
        tool_choice="required",
        extra_create_args={"temperature": 0},
    )
    last = [piece async for piece in stream][-1]
    assert isinstance(last, CreateResult)
    assert json.loads(last.content[0].arguments)["unit"] in UNITS


@pytest.mark.parametrize("kind", ["openai", "azure_openai"])
async def test_a_structured_answer(kind: str):
    # The client for Azure AI refuses a class here: "only JSON mode".
    result = await make_client(kind).create([user(WEATHER_QUESTION)], json_output=Weather)
    Weather.model_validate_json(result.content)


async def test_an_answer_in_json(client: ChatCompletionClient):
    result = await client.create(
        [user("Name a colour, as JSON.")], json_output=True, extra_create_args={"temperature": 0}
    )
    assert isinstance(result.content, str)
    assert result.content.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("azure_ai", HttpResponseError, 400),
        ("openai", openai.NotFoundError, 404),
        ("azure_openai", openai.NotFoundError, 404),
    ],
)
async def test_an_unknown_model_is_refused(kind: str, expected: type[Exception], status: int):
    with pytest.raises(expected) as refusal:
        await make_client(kind, "gpt-9").create([user("hi")])
    assert refusal.value.status_code == status
