"""The engine contract: what a worker needs from the code that runs a model."""

from typing import Protocol, runtime_checkable

from msgspec import Struct

from zaffre.core.calls import ChatCall, CompletionCall, EmbedCall, ImageEmbedCall
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Deltas, Embeddings


class EngineSpec(Struct, frozen=True, kw_only=True):
    """What to run: a model's card, where its files are, and the engine's options."""

    card: ModelCard
    path: str
    """The model's folder, or the one file it consists of."""
    threads: int
    """Processor threads the engine may use, at least 1."""
    slots: int = 16
    """Requests generated at the same time; more wait in the worker's bounded inbox."""
    options: dict[str, str | int | float | bool] = {}
    """Options of this engine, by its documented names; an unknown one is an error at start."""


class WorkerSpec(Struct, frozen=True, kw_only=True):
    """What a worker process is told, once, on its standard input."""

    engine: str
    spec: EngineSpec
    socket: str
    """Path of the Unix socket to serve on, in a folder that only the owner can enter."""
    secret: str
    """What callers must show as a bearer token."""
    parent_pid: int
    """The worker ends when this process does."""
    max_waiting: int = 256
    """Requests beyond the engine's slots that may wait; the next one is refused at once."""
    memory_limit_bytes: int | None = None
    """Bound on the address space; None: the machine's."""


class WorkerReport(Struct, frozen=True):
    """What a worker says on its standard output: once, that it serves, or why it cannot; and once
    more, why it ends, if its engine has given up."""

    capabilities: Capabilities | None = None
    error: str = ""


class Health(Struct, frozen=True):
    """How busy an engine is."""

    active: int = 0
    """Requests being generated or embedded right now."""
    waiting: int = 0


class Engine(Protocol):
    """Runs one model.

    An engine is made from an `EngineSpec`, started once, used by many tasks of one event loop, and
    closed once. It raises `zaffre.core.errors`, never HTTP. Work that takes longer than a
    millisecond happens off the loop. Tokenising and chat templates are the engine's; timeouts,
    retries and metering are not.
    """

    async def start(self) -> Capabilities:
        """Load the model. Raises `EngineFailed` with the cause when it cannot be loaded."""

    def health(self) -> Health:
        """How busy the engine is; never blocks."""

    async def aclose(self) -> None:
        """Stop everything in flight and free the model. May be called twice."""


@runtime_checkable
class MortalEngine(Engine, Protocol):
    """An engine that may come to its end while nobody closes it."""

    async def ended(self) -> str:
        """Wait until the engine has given up, and cannot be used any more; the cause.

        Whoever holds it ends as well, so that its own keeper sees it and starts it again.
        """


@runtime_checkable
class ChatEngine(Engine, Protocol):
    """An engine that continues conversations."""

    def chat(self, call: ChatCall) -> Deltas:
        """Answer `call`, piece by piece, in the order that `zaffre.core.deltas` describes.

        The first `await` of the iterator raises when the call is refused. Closing or cancelling the
        iterator stops the generation at once and frees its slot.
        """


@runtime_checkable
class CompletionEngine(Engine, Protocol):
    """An engine that continues text. Choice indices run over prompts, then over `n`."""

    def complete(self, call: CompletionCall) -> Deltas:
        """Continue every prompt of `call`; see `ChatEngine.chat`."""


@runtime_checkable
class EmbeddingEngine(Engine, Protocol):
    """An engine that turns texts into vectors."""

    async def embed(self, call: EmbedCall) -> Embeddings:
        """Embed `call.texts`, in order."""


@runtime_checkable
class ImageEmbeddingEngine(Engine, Protocol):
    """An engine that turns images, with captions or not, into vectors."""

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """Embed `call.inputs`, in order. Undecodable images raise `InvalidParameter`."""
