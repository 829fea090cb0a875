"""What the gateway asks of whatever runs a model: a local worker or a foreign server."""

from typing import Protocol

from zaffre.core.calls import EmbedCall, GenerationCall, ImageEmbedCall
from zaffre.core.deltas import Batches, Delta, Embeddings
from zaffre.core.engine import Health


class ModelClient(Protocol):
    """Runs calls on one replica.

    Raises `zaffre.core.errors`: `ModelUnreachable` when there is no connection to the replica,
    `EngineFailed` when it broke or ended an answer early, `ModelTimeout` when it was too slow, and
    whatever the engine refused the call with.
    """

    def stream(self, call: GenerationCall) -> Batches:
        """The deltas of `call`, each as soon as it is there."""

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """All deltas of `call` at its end, the `Usage` last."""

    async def embed(self, call: EmbedCall) -> Embeddings:
        """The vectors of `call`."""

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """The vectors of `call`."""

    async def health(self) -> Health:
        """How busy the replica's engine is."""
