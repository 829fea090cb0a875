"""What the tests of OpenAI's own Python client share: one way to read four kinds of client."""

import inspect
import os
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import Any, TypeVar

from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel, Field

Answer = TypeVar("Answer")
Event = TypeVar("Event")
AnyClient = OpenAI | AsyncOpenAI | AzureOpenAI | AsyncAzureOpenAI

ALL = "ZAFFRE_TEST_ALL_CLIENTS" in os.environ
"""Whether to run what takes longer as well: `scripts/test clients` says so."""
API_VERSION = "2024-10-21"
CHAT = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"
CAPITAL: list[Any] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": SCHEMA,
        "strict": True,
    },
}


class City(BaseModel):
    """A structured answer."""

    name: str = Field(max_length=20)
    population: int = Field(ge=0, le=99_999_999)


async def settled(answer: Answer | Awaitable[Answer]) -> Answer:
    """What a sync client returned, or what an async one promised."""
    return await answer if inspect.isawaitable(answer) else answer


async def events_of(
    answer: Iterable[Event] | AsyncIterable[Event] | Awaitable[Any],
) -> list[Event]:
    """All events of a stream, of either flavour."""
    stream = await settled(answer)
    if isinstance(stream, AsyncIterable):
        return [event async for event in stream]
    return list(stream)
