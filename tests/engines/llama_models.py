"""Engines for the `llama` tests: on the starter model and on the tiny Phi-3."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from zaffre.core.calls import ChatCall, CompletionCall, Sampling, TextPart, UserMessage
from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.engines.llama.engine import LlamaEngine
from zaffre.registry.store import ModelStore, default_home

Options = dict[str, str | int | float | bool]

STARTER = "smollm2-135m-instruct"


def starter(chat_template: str | None = None, **options: str | int) -> EngineSpec:
    """How to run the starter model, with another template if one is given."""
    model = ModelStore(default_home(os.environ)).find(STARTER)
    card = ModelCard(
        name=STARTER,
        format="gguf",
        operations=("chat", "complete"),
        chat_template=chat_template,
    )
    return EngineSpec(card=card, path=str(model.path), threads=1, options={**options})


def tiny(path: Path, chat_template: str | None = None, **options: str | int) -> EngineSpec:
    """How to run a GGUF made for a test, with another template if one is given."""
    card = ModelCard(
        name="tiny-phi3",
        format="gguf",
        operations=("chat", "complete"),
        chat_template=chat_template,
    )
    return EngineSpec(card=card, path=str(path), threads=1, slots=4, options={**options})


@asynccontextmanager
async def running(spec: EngineSpec) -> AsyncIterator[LlamaEngine]:
    """The engine of `spec`, started, and closed at the end."""
    engine = LlamaEngine(spec)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


def sampling(**fields: object) -> Sampling:
    """Greedy, and short, unless told otherwise."""
    return Sampling(**{"temperature": 0.0, "max_tokens": 16, **fields})


def asked(text: str, **fields: object) -> ChatCall:
    """A chat with one message of the user."""
    return ChatCall(messages=(UserMessage((TextPart(text),)),), **fields)


def continued(*prompts: str | tuple[int, ...], **fields: object) -> CompletionCall:
    """Prompts to continue."""
    return CompletionCall(prompts=prompts, **fields)
