"""What the tests of all frameworks share: the server, its models, and what is asked of them."""

import os
from typing import Any

ENDPOINT = os.environ["ZAFFRE_TEST_ENDPOINT"]
KEY = os.environ["ZAFFRE_TEST_KEY"]
V1 = f"{ENDPOINT}/openai/v1"
API_VERSION = "2024-10-21"
"""Of Azure OpenAI; any is served."""

CHAT = "smollm2-135m-instruct"
EMBEDDER = "all-minilm-l6-v2"
DIMENSIONS = 384

QUESTION = "Write one sentence about the sea."
MAX_TOKENS = 24

WEATHER_NAME = "get_weather"
WEATHER_TEXT = "The weather in a city."
WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": WEATHER_NAME,
        "description": WEATHER_TEXT,
        "parameters": WEATHER_SCHEMA,
    },
}
WEATHER_QUESTION = "What is the weather in Paris, in celsius?"
UNITS = {"celsius", "fahrenheit"}


def get_weather(city: str, unit: str) -> str:
    """The weather in a city."""
    return f"It is 21 degrees {unit} in {city}."


def check_vector(vector: list[float]) -> None:
    """A unit vector of the embedder's."""
    assert len(vector) == DIMENSIONS
    assert abs(sum(x * x for x in vector) - 1) < 0.01


def dot(one: list[float], other: list[float]) -> float:
    """How alike two texts are, by their vectors."""
    return sum(x * y for x, y in zip(one, other, strict=True))
