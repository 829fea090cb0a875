"""Semantic Kernel's connectors for Azure AI Inference, OpenAI and Azure OpenAI.

Its settings refuse http, so each connector is given the vendor's client that it would make.
"""

import json
from typing import Annotated, Any, Literal

import pytest
from azure.ai.inference.aio import ChatCompletionsClient, EmbeddingsClient
from azure.core.credentials import AzureKeyCredential
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic import BaseModel, Field
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai.azure_ai_inference import (
    AzureAIInferenceChatCompletion,
    AzureAIInferenceChatPromptExecutionSettings,
    AzureAIInferenceTextEmbedding,
)
from semantic_kernel.connectors.ai.chat_completion_client_base import ChatCompletionClientBase
from semantic_kernel.connectors.ai.function_choice_behavior import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    AzureChatCompletion,
    AzureTextEmbedding,
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
)
from semantic_kernel.contents import ChatHistory, FunctionCallContent
from semantic_kernel.exceptions import ServiceResponseException
from semantic_kernel.functions import kernel_function
from under_test import (
    API_VERSION,
    CHAT,
    EMBEDDER,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    V1,
    WEATHER_QUESTION,
    check_vector,
    get_weather,
)

KINDS = ["inference", "openai", "azure"]
CREDENTIAL = AzureKeyCredential(KEY)


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


class WeatherPlugin:
    """A tool."""

    @kernel_function(name="get_weather", description="The weather in a city.")
    def look_up(
        self,
        city: Annotated[str, "The city."],
        unit: Annotated[str, "celsius or fahrenheit"],
    ) -> str:
        """The weather in a city."""
        return get_weather(city, unit)


def make_chat(kind: str, model: str = CHAT) -> ChatCompletionClientBase:
    match kind:
        case "inference":
            client = ChatCompletionsClient(ENDPOINT, CREDENTIAL)
            return AzureAIInferenceChatCompletion(ai_model_id=model, client=client)
        case "openai":
            return OpenAIChatCompletion(
                ai_model_id=model, async_client=AsyncOpenAI(base_url=V1, api_key=KEY)
            )
        case _:
            return AzureChatCompletion(
                deployment_name=model,
                async_client=AsyncAzureOpenAI(
                    azure_endpoint=ENDPOINT, api_key=KEY, api_version=API_VERSION
                ),
            )


def settings(kind: str, **options: Any) -> Any:
    if kind == "inference":
        # A model in the settings reaches the SDK by its pass-through, which sets the header.
        return AzureAIInferenceChatPromptExecutionSettings(**options)
    return OpenAIChatPromptExecutionSettings(**options)


def say(text: str) -> ChatHistory:
    history = ChatHistory(system_message="Be brief.")
    history.add_user_message(text)
    return history


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which connector."""
    return str(request.param)


async def test_an_answer(kind: str):
    asked = settings(kind, max_tokens=MAX_TOKENS, temperature=0.0)
    answer = await make_chat(kind).get_chat_message_content(say(QUESTION), asked)
    assert answer.content
    assert answer.metadata["usage"].completion_tokens <= MAX_TOKENS


async def test_a_stream(kind: str):
    asked = settings(kind, max_tokens=MAX_TOKENS, temperature=0.0)
    chat = make_chat(kind)
    stream = chat.get_streaming_chat_message_content(say(QUESTION), asked)
    pieces = [str(piece) async for piece in stream]
    whole = await chat.get_chat_message_content(say(QUESTION), asked)
    assert len(pieces) > 2
    assert "".join(pieces) == whole.content


async def test_a_tool_is_called_and_answered(kind: str):
    kernel = Kernel()
    kernel.add_plugin(WeatherPlugin(), "weather")
    choice = FunctionChoiceBehavior.Required(auto_invoke=True)
    choice.maximum_auto_invoke_attempts = 1
    history = say(WEATHER_QUESTION)
    asked = settings(kind, temperature=0.0, function_choice_behavior=choice)
    # After one round of calls Semantic Kernel asks again, without tools.
    answer = await make_chat(kind).get_chat_message_content(history, asked, kernel=kernel)
    assert answer is not None
    calls = [i for m in history.messages for i in m.items if isinstance(i, FunctionCallContent)]
    assert calls[0].name == "weather-get_weather"
    assert set(json.loads(calls[0].arguments)) == {"city", "unit"}


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_a_structured_answer(kind: str):
    asked = settings(kind, response_format=Weather, temperature=0.0)
    answer = await make_chat(kind).get_chat_message_content(say(WEATHER_QUESTION), asked)
    Weather.model_validate_json(answer.content)


async def test_embeddings(kind: str):
    match kind:
        case "inference":
            client = EmbeddingsClient(ENDPOINT, CREDENTIAL)
            service: Any = AzureAIInferenceTextEmbedding(ai_model_id=EMBEDDER, client=client)
        case "openai":
            service = OpenAITextEmbedding(
                ai_model_id=EMBEDDER, async_client=AsyncOpenAI(base_url=V1, api_key=KEY)
            )
        case _:
            azure = AsyncAzureOpenAI(azure_endpoint=ENDPOINT, api_key=KEY, api_version=API_VERSION)
            service = AzureTextEmbedding(deployment_name=EMBEDDER, async_client=azure)
    vectors = await service.generate_embeddings(["a cat", "a dog"])
    for vector in vectors:
        check_vector([float(x) for x in vector])


async def test_an_unknown_model_is_refused(kind: str):
    with pytest.raises(Exception, match="gpt-9") as refusal:
        await make_chat(kind, "gpt-9").get_chat_message_content(say("hi"), settings(kind))
    if kind != "inference":
        assert isinstance(refusal.value, ServiceResponseException)
