"""pydantic-ai: agents with tools and typed results, over OpenAI v1 and a deployment."""

from typing import Literal

import pytest
from openai import AsyncAzureOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import (
    Agent,
    CallDeferred,
    DeferredToolRequests,
    DeferredToolResults,
    ModelHTTPError,
    ModelSettings,
    NativeOutput,
    ToolOutput,
)
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
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
)

PLAIN = OpenAIProvider(base_url=V1, api_key=KEY)
AZURE = OpenAIProvider(
    openai_client=AsyncAzureOpenAI(azure_endpoint=ENDPOINT, api_key=KEY, api_version=API_VERSION)
)
MODELS: dict[str, Model] = {
    "chat": OpenAIChatModel(CHAT, provider=PLAIN),
    "responses": OpenAIResponsesModel(CHAT, provider=PLAIN),
    "azure": OpenAIChatModel(CHAT, provider=AZURE),
    "azure-responses": OpenAIResponsesModel(CHAT, provider=AZURE),
}
SHORT = ModelSettings(temperature=0, max_tokens=MAX_TOKENS)
GREEDY = ModelSettings(temperature=0, parallel_tool_calls=False)


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    """A model over one of the ways in."""
    return MODELS[request.param]


async def test_an_answer(model: Model):
    result = await Agent(model, instructions="Be brief.").run(QUESTION, model_settings=SHORT)
    assert result.output
    assert result.usage.output_tokens > 0


async def test_a_stream(model: Model):
    async with Agent(model).run_stream(QUESTION, model_settings=SHORT) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1
    assert result.usage.output_tokens > 0


@pytest.mark.parametrize("wrap", [ToolOutput, NativeOutput])
async def test_a_result_has_its_type(model: Model, wrap: type):
    agent = Agent(model, output_type=wrap(Weather))
    result = await agent.run(WEATHER_QUESTION, model_settings=GREEDY)
    assert isinstance(result.output, Weather)


async def test_a_tool_is_called_and_its_result_taken_back(model: Model):
    # With a typed result there must be a call: of the tool, which is answered, or of the result.
    agent = Agent(model, output_type=[ToolOutput(Weather), DeferredToolRequests])

    @agent.tool_plain
    def look_up(city: Literal["Paris", "Rome"]) -> str:
        """Look up the weather in a city."""
        raise CallDeferred

    asked = await agent.run("Call look_up for Paris.", model_settings=GREEDY)
    assert isinstance(asked.output, DeferredToolRequests)
    (call,) = asked.output.calls
    assert call.tool_name == "look_up"
    told = await agent.run(
        message_history=asked.all_messages(),
        deferred_tool_results=DeferredToolResults(calls={call.tool_call_id: "It is sunny."}),
        model_settings=GREEDY,
    )
    assert isinstance(told.output, Weather | DeferredToolRequests)
    assert told.usage.input_tokens > asked.usage.input_tokens


async def test_embeddings():
    embedder = Embedder(OpenAIEmbeddingModel(EMBEDDER, provider=PLAIN))
    result = await embedder.embed_documents(["a cat", "a dog"])
    for vector in result.embeddings:
        check_vector(list(vector))


@pytest.mark.parametrize("provider", [PLAIN, AZURE])
async def test_an_unknown_model_is_not_found(provider: OpenAIProvider):
    with pytest.raises(ModelHTTPError) as refusal:
        await Agent(OpenAIChatModel("gpt-9", provider=provider)).run("hi")
    assert refusal.value.status_code == 404
