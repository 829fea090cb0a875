"""The Responses API through openai: answers, events, tools, classes, and what needs a memory."""

import json
from typing import Any

import openai
import pytest
from openai import AzureOpenAI, OpenAI
from openai_checks import ALL, API_VERSION, CAPITAL, CHAT, SCHEMA, City

from servers import RunningServer

QUESTION = "Write one sentence about the sea."
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": SCHEMA,
    "strict": True,
}


@pytest.fixture(params=["v1", "azure"] if ALL else ["azure"])
def client(request: pytest.FixtureRequest, server: RunningServer) -> OpenAI:
    """A client as a program makes it."""
    if request.param == "v1":
        return OpenAI(base_url=f"{server.endpoint}/openai/v1", api_key=server.key)
    return AzureOpenAI(azure_endpoint=server.endpoint, api_key=server.key, api_version=API_VERSION)


def test_a_text_is_answered(client: OpenAI):
    response = client.responses.create(
        model=CHAT, instructions="Be brief.", input=QUESTION, temperature=0, max_output_tokens=16
    )
    assert response.output_text
    assert response.usage.output_tokens <= 16
    assert response.status in ("completed", "incomplete")


def test_a_stream_adds_up_to_the_answer(client: OpenAI):
    asked: dict[str, Any] = {"model": CHAT, "input": CAPITAL, "temperature": 0}
    with client.responses.stream(**asked) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(pieces) > 1
    assert "".join(pieces) == final.output_text
    assert final.output_text == client.responses.create(**asked).output_text


def test_a_tool_is_called_and_its_result_taken_back(client: OpenAI):
    question: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = client.responses.create(
        model=CHAT,
        input=question,
        tools=[TOOL],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
    )
    (call,) = asked.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["unit"] in ("celsius", "fahrenheit")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    told = client.responses.create(
        model=CHAT, input=[*question, *asked.output, result], max_output_tokens=16
    )
    assert told.output_text


def test_an_answer_is_parsed_into_a_class(client: OpenAI):
    response = client.responses.parse(
        model=CHAT, input="Paris has two million people.", text_format=City, temperature=0
    )
    assert isinstance(response.output_parsed, City)


def test_what_needs_a_memory_is_refused(client: OpenAI):
    with pytest.raises(openai.BadRequestError, match="keeps no responses") as refusal:
        client.responses.create(model=CHAT, input="hi", previous_response_id="resp_1")
    assert refusal.value.param == "previous_response_id"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
