"""What the conformance suite runs: each engine on a model, and short ways to call it."""

import asyncio
import os
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from zaffre.core.answers import Answer, gather
from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    JsonSchema,
    Sampling,
    TextPart,
    UserMessage,
)
from zaffre.core.capabilities import Capabilities, check
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Delta, Deltas
from zaffre.core.engine import ChatEngine, CompletionEngine, Engine, EngineSpec
from zaffre.registry.store import ModelStore, default_home

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"
ECHO = ModelCard(
    name="echo", format="echo", operations=("chat", "complete", "embed", "embed_images")
)
SUBJECTS: dict[str, str | None] = {
    "echo": None,
    "llama": CHAT_MODEL,
    "onnx": EMBEDDING_MODEL,
    "openvino": CHAT_MODEL,
}
"""Engine -> the starter model it is tried on; None: it needs none."""
GENERATING = ("echo", "llama", "openvino")
EMBEDDING = ("echo", "onnx")
MODELS = ("llama", "openvino")
"""Engines that generate with a model, and do more than the contract's table."""
GREEDY = Sampling(temperature=0, max_tokens=24)
PATIENCE_S = 20.0
"""Far more than anything here takes; what never happens fails the test then."""


class Person(Struct, forbid_unknown_fields=True):
    """What `PERSON` describes."""

    name: Annotated[str, Meta(max_length=40)]
    age: Annotated[int, Meta(ge=0, le=120)]
    tags: Annotated[list[Annotated[str, Meta(max_length=12)]], Meta(max_length=3)]
    email: Annotated[str, Meta(pattern="^[a-z]{2,8}@example[.]org$")] | None = None


PERSON = JsonSchema(
    "person",
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"$ref": "#/$defs/tags"},
            "email": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/email"}]},
        },
        "required": ["name", "age", "tags", "email"],
        "additionalProperties": False,
        "$defs": {
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
            "email": {"type": "string", "pattern": "^[a-z]{2,8}@example[.]org$"},
        },
    },
)


class Subject(Struct, frozen=True):
    """A started engine."""

    name: str
    engine: Engine
    capabilities: Capabilities

    async def say(self, text: str, **asked: object) -> Answer:
        """The whole answer to one user message; fields of a `ChatCall` or of its `Sampling`."""
        return await self.answer(chat_call(text, **asked))

    async def answer(self, call: ChatCall | CompletionCall) -> Answer:
        """The whole answer to `call`, which has passed the one check that calls pass."""
        return await gather(self.begin(call))

    async def deltas(self, call: ChatCall | CompletionCall) -> list[Delta]:
        """The deltas of `call`, as they came."""
        return [delta async for delta in self.begin(call)]

    def begin(self, call: ChatCall | CompletionCall) -> Deltas:
        """Start `call`."""
        check(call, self.capabilities)
        if isinstance(call, ChatCall):
            assert isinstance(self.engine, ChatEngine)
            return self.engine.chat(call)
        assert isinstance(self.engine, CompletionEngine)
        return self.engine.complete(call)

    async def idle(self) -> bool:
        """Wait until the engine has nothing to do; whether it came to that."""
        return await until(lambda: self.engine.health().active == 0)


def chat_call(text: str, **asked: object) -> ChatCall:
    """One user message. Names that are fields of `Sampling` go there, others to the call."""
    sampling = {name: asked.pop(name) for name in Sampling.__struct_fields__ if name in asked}
    return ChatCall(
        (UserMessage((TextPart(text),)),),
        sampling=asked.pop("sampling", None) or Sampling(**{"temperature": 0, **sampling}),
        **asked,
    )


async def until(condition: Callable[[], bool]) -> bool:
    """Wait until `condition` holds; whether it came to that."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - an engine tells nobody
                await asyncio.sleep(0.001)
    except TimeoutError:
        return False
    return True


def spec_of(engine: str, *, slots: int = 16, **options: str | int) -> EngineSpec:
    """The engine's model, as this machine would run it."""
    threads = max(1, (os.cpu_count() or 1) - 1)
    model = SUBJECTS[engine]
    if model is None:
        return EngineSpec(card=ECHO, path="", threads=threads, slots=slots)
    found = ModelStore(default_home(os.environ)).find(model)
    return EngineSpec(
        card=found.card, path=str(found.path), threads=threads, slots=slots, options=options
    )
