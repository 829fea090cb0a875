"""Instructor over OpenAI's client: modes, streams of parts, retries, errors."""

from typing import Literal

import instructor
import openai
import pytest
from instructor.exceptions import InstructorRetryException
from openai import AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel, Field
from under_test import API_VERSION, CHAT, ENDPOINT, KEY, V1, WEATHER_QUESTION

MODES = [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA]


class Weather(BaseModel):
    """What is asked about the weather."""

    city: str = Field(max_length=20)
    unit: Literal["celsius", "fahrenheit"]


MESSAGES = [{"role": "user", "content": WEATHER_QUESTION}]


@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_filled_in(mode: instructor.Mode):
    client = instructor.from_openai(OpenAI(base_url=V1, api_key=KEY), mode=mode)
    weather, answer = client.chat.completions.create_with_completion(
        model=CHAT, messages=MESSAGES, response_model=Weather, temperature=0
    )
    assert isinstance(weather, Weather)
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize("mode", MODES)
async def test_a_model_is_filled_in_from_a_deployment(mode: instructor.Mode):
    azure = AzureOpenAI(azure_endpoint=ENDPOINT, api_key=KEY, api_version=API_VERSION)
    weather = instructor.from_openai(azure, mode=mode).chat.completions.create(
        model=CHAT, messages=MESSAGES, response_model=Weather, temperature=0
    )
    assert isinstance(weather, Weather)


async def test_a_model_is_awaited():
    client = instructor.from_openai(AsyncOpenAI(base_url=V1, api_key=KEY))
    weather = await client.chat.completions.create(
        model=CHAT, messages=MESSAGES, response_model=Weather, temperature=0
    )
    assert isinstance(weather, Weather)


def test_a_model_fills_in_as_it_streams():
    client = instructor.from_openai(
        OpenAI(base_url=V1, api_key=KEY), mode=instructor.Mode.JSON_SCHEMA
    )
    parts = list(
        client.chat.completions.create_partial(
            model=CHAT, messages=MESSAGES, response_model=Weather, temperature=0
        )
    )
    assert len(parts) > 1
    assert Weather.model_validate(parts[-1].model_dump())


def test_a_plain_answer():
    client = instructor.from_openai(OpenAI(base_url=V1, api_key=KEY))
    answer = client.chat.completions.create(
        model=CHAT, messages=MESSAGES, response_model=None, max_tokens=8
    )
    assert answer.choices[0].message.content


def test_an_unknown_model_is_not_found():
    client = instructor.from_openai(OpenAI(base_url=V1, api_key=KEY))
    with pytest.raises((openai.NotFoundError, InstructorRetryException)) as refusal:
        client.chat.completions.create(
            model="gpt-9", messages=MESSAGES, response_model=Weather, max_retries=0
        )
    assert "gpt-9" in str(refusal.value)
