"""Tools through azure-ai-inference: choices, arguments under their schema, results fed back."""

import json

import jsonschema
import pytest
from azure.ai.inference.models import (
    AssistantMessage,
    ChatCompletionsNamedToolChoice,
    ChatCompletionsNamedToolChoiceFunction,
    ChatCompletionsToolChoicePreset,
    ChatCompletionsToolDefinition,
    FunctionDefinition,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from azure_checks import AnyChatClient, check_tool_call, check_usage, settled, updates_of

FORECAST = ChatCompletionsToolDefinition(
    function=FunctionDefinition(
        name="get_max_temperature",
        description="The forecast maximum temperature in a city, some days from now.",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "days": {"type": "integer", "minimum": 0, "maximum": 9},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    )
)
LAMP = ChatCompletionsToolDefinition(
    function=FunctionDefinition(
        name="switch_lamp",
        description="Switches the lamp.",
        parameters={
            "type": "object",
            "properties": {"state": {"enum": ["on", "off"]}},
            "required": ["state"],
            "additionalProperties": False,
        },
    )
)
TOOLS = [FORECAST, LAMP]
QUESTION = [
    SystemMessage("You are an assistant that helps users find weather information."),
    UserMessage("What's the maximum temperature in Seattle two days from now?"),
]


def _check_arguments(call, tools: list[ChatCompletionsToolDefinition]) -> None:
    """The call is one of a tool that was offered, with arguments that its schema allows."""
    schemas = {tool.function.name: tool.function.parameters for tool in tools}
    jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])
    assert call.type == "function"
    assert call.id


def choice_of(tool: ChatCompletionsToolDefinition) -> ChatCompletionsNamedToolChoice:
    """The wish that this tool be called and no other."""
    return ChatCompletionsNamedToolChoice(
        function=ChatCompletionsNamedToolChoiceFunction(name=tool.function.name)
    )


async def test_a_required_tool_is_called(chat: AnyChatClient):
    response = await settled(
        chat.complete(
            messages=QUESTION,
            tools=TOOLS,
            tool_choice=ChatCompletionsToolChoicePreset.REQUIRED,
            temperature=0,
            model_extras={"parallel_tool_calls": False},
        )
    )
    check_tool_call(response)
    [call] = response.choices[0].message.tool_calls
    _check_arguments(call, TOOLS)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.function.name)
async def test_a_named_tool_is_called(chat: AnyChatClient, tool: ChatCompletionsToolDefinition):
    response = await settled(
        chat.complete(messages=QUESTION, tools=TOOLS, tool_choice=choice_of(tool), temperature=0)
    )
    calls = response.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == [tool.function.name]
    _check_arguments(calls[0], [tool])


async def test_the_result_of_a_tool_is_taken_back(chat: AnyChatClient):
    asked = await settled(
        chat.complete(messages=QUESTION, tools=TOOLS, tool_choice=choice_of(LAMP), temperature=0)
    )
    calls = asked.choices[0].message.tool_calls
    messages = [
        *QUESTION,
        AssistantMessage(tool_calls=calls),
        *(ToolMessage("The lamp is on.", tool_call_id=call.id) for call in calls),
    ]
    rest = {"tools": TOOLS, "tool_choice": "none", "temperature": 0, "max_tokens": 16}
    without = await settled(chat.complete(messages=QUESTION, **rest))
    answer = await settled(chat.complete(messages=messages, **rest))
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens


async def test_no_tool_is_called_where_none_may_be(chat: AnyChatClient):
    response = await settled(
        chat.complete(
            messages=QUESTION, tools=TOOLS, tool_choice="none", temperature=0, max_tokens=16
        )
    )
    assert response.choices[0].message.content
    assert not response.choices[0].message.tool_calls


async def test_the_model_may_choose(chat: AnyChatClient):
    response = await settled(
        chat.complete(messages=QUESTION, tools=TOOLS, temperature=0, max_tokens=128)
    )
    for call in response.choices[0].message.tool_calls or []:
        _check_arguments(call, TOOLS)
    check_usage(response.usage)


async def test_a_streamed_call_comes_in_one_piece(chat: AnyChatClient):
    updates = await updates_of(
        chat.complete(
            messages=QUESTION,
            tools=TOOLS,
            tool_choice=choice_of(LAMP),
            stream=True,
            temperature=0,
        )
    )
    [call] = [call for update in updates for call in update.choices[0].delta.tool_calls or []]
    assert call.id
    assert call.function.name == LAMP.function.name
    jsonschema.validate(json.loads(call.function.arguments), LAMP.function.parameters)
    assert not any(update.choices[0].delta.content for update in updates)
    assert updates[-1].choices[0].finish_reason == "tool_calls"
    check_usage(updates[-1].usage)
