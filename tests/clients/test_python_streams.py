"""Streams through azure-ai-inference: what its own tests demand, and leaving in the middle."""

import json
import time
from collections.abc import AsyncIterable

from azure.ai.inference.models import (
    CompletionsFinishReason,
    JsonSchemaFormat,
    SystemMessage,
    UserMessage,
)
from azure_checks import AnyChatClient, check_stream, check_usage, settled, text_of, updates_of

from servers import RunningServer

DEFINITION = [
    SystemMessage("You are a helpful assistant."),
    UserMessage("Define photosynthesis in one sentence."),
]
GREETING = "안녕하세요 🌍 日本語"
SAY_GREETING = JsonSchemaFormat(
    name="greeting",
    schema={
        "type": "object",
        "properties": {"say": {"enum": [GREETING]}},
        "required": ["say"],
        "additionalProperties": False,
    },
)
"""Leaves the model nothing else to say, in characters that are several tokens each."""
FREED_LIMIT_S = 10
ENDLESS_TOKENS = 6000
"""More than can be generated within FREED_LIMIT_S."""


async def test_a_long_answer_is_streamed(chat: AnyChatClient):
    check_stream(await updates_of(chat.complete(messages=DEFINITION, stream=True, temperature=0)))


async def test_a_stream_may_be_asked_for_in_a_plain_dict(chat: AnyChatClient):
    body = {
        "messages": [message.as_dict() for message in DEFINITION],
        "stream": True,
        "temperature": 0,
    }
    check_stream(await updates_of(chat.complete(body)))


async def test_a_stream_says_what_the_whole_answer_says(chat: AnyChatClient):
    asked = {"messages": DEFINITION, "temperature": 0, "max_tokens": 12}
    whole = await settled(chat.complete(**asked))
    updates = await updates_of(chat.complete(**asked, stream=True))
    assert text_of(updates) == whole.choices[0].message.content
    assert updates[-1].usage == whole.usage
    assert updates[-1].choices[0].finish_reason == CompletionsFinishReason.TOKEN_LIMIT_REACHED
    check_usage(updates[-1].usage)


async def test_characters_of_several_tokens_arrive_whole(chat: AnyChatClient):
    asked = {"messages": DEFINITION, "response_format": SAY_GREETING, "max_tokens": 96}
    updates = await updates_of(chat.complete(**asked, stream=True))
    assert json.loads(text_of(updates)) == {"say": GREETING}
    assert all("\ufffd" not in text_of([update]) for update in updates)


async def test_leaving_in_the_middle_frees_the_slot(chat: AnyChatClient, server: RunningServer):
    stream = await settled(
        chat.complete(
            messages=DEFINITION,
            stream=True,
            max_tokens=ENDLESS_TOKENS,
            model_extras={"ignore_eos": True},
        )
    )
    if isinstance(stream, AsyncIterable):
        await anext(aiter(stream))
        assert _active(server) == 1
        await stream.aclose()
    else:
        next(stream)
        assert _active(server) == 1
        stream.close()

    deadline = time.monotonic() + FREED_LIMIT_S
    while _active(server) and time.monotonic() < deadline:
        pass
    assert _active(server) == 0


def _active(server: RunningServer) -> int:
    """How many requests are being generated, over all replicas."""
    replicas = server.get("/health/replicas")["replicas"]
    return sum(replica["active"] for replica in replicas)
