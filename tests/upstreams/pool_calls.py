"""Calls for the tests of upstreams, and what comes of them."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from fault_server import Gate

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    GenerationCall,
    Sampling,
    TextPart,
    UserMessage,
)
from zaffre.core.client import ModelClient
from zaffre.core.deltas import Delta, TextDelta
from zaffre.core.errors import ZaffreError
from zaffre.upstream.foreign.client import ForeignClient
from zaffre.upstream.pool import UpstreamPool

SECRET = 'sk-very/secret+"0123456789'
Open = Callable[..., ForeignClient]
OpenPool = Callable[..., UpstreamPool]
"""What the fixtures of these names give."""
HELLO = ChatCall(messages=(UserMessage((TextPart("Hello there"),)),))


def asking(text: str, **sampling: Any) -> ChatCall:
    """A chat with one message of the user."""
    return ChatCall(messages=(UserMessage((TextPart(text),)),), sampling=Sampling(**sampling))


async def chat(client: ModelClient, call: ChatCall = HELLO, *, stream: bool = True) -> list[Delta]:
    """All deltas of a chat."""
    return await deltas_of(client, call, stream=stream)


async def complete(
    client: ModelClient, call: CompletionCall | None = None, *, stream: bool = True
) -> list[Delta]:
    """All deltas of a completion."""
    return await deltas_of(client, call or CompletionCall(("Hello",)), stream=stream)


async def deltas_of(client: ModelClient, call: GenerationCall, *, stream: bool) -> list[Delta]:
    """All deltas of a generation."""
    if not stream:
        return await client.answer(call)
    async with aclosing(client.stream(call)) as batches:
        return [delta async for batch in batches for delta in batch]


async def cut(client: ModelClient, gate: Gate | None = None) -> tuple[list[Delta], ZaffreError]:
    """What of a streamed chat came before its error, and the error; `gate` opens on the first."""
    came: list[Delta] = []
    try:
        async with aclosing(client.stream(HELLO)) as batches:
            async for batch in batches:
                came += batch
                if gate is not None:
                    gate.opened.set()
    except ZaffreError as error:
        return came, error
    raise AssertionError(f"no error after {came}")


def text_of(deltas: list[Delta]) -> str:
    """What was said."""
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
