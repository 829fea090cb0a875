"""What the gateway can do: chat, complete, embed, describe. Reads like the story of a request."""

from contextlib import aclosing

from msgspec import Struct, structs

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    EmbedCall,
    GenerationCall,
    ImageEmbedCall,
    Operation,
)
from zaffre.core.capabilities import Capabilities, check
from zaffre.core.cards import ModelCard
from zaffre.core.client import ModelClient
from zaffre.core.deltas import Deltas, Embeddings
from zaffre.core.engine import Health
from zaffre.core.errors import EngineFailed, ModelUnreachable, ZaffreError
from zaffre.core.media import MediaFetcher
from zaffre.routing.replicas import ready_client, successor
from zaffre.routing.table import Deployment, Selector, Table
from zaffre.service.media import with_media


class ReplicaStatus(Struct, frozen=True):
    """What operators see of a replica."""

    deployment: str
    engine: str
    state: str
    pid: int | None
    """The worker process, on this machine."""
    active: int
    waiting: int
    calls: int
    restarts: int
    cause: str


class Gateway:
    """The use cases over one table of deployments."""

    def __init__(self, table: Table, media: MediaFetcher | None = None) -> None:
        self.table = table
        self._media = media

    def choose(self, selector: Selector, operation: Operation) -> Deployment:
        """The deployment that will answer; see `Table.resolve`."""
        return self.table.resolve(selector, operation)

    async def generate(
        self, deployment: Deployment, call: ChatCall | CompletionCall, *, stream: bool
    ) -> Deltas:
        """The deltas of `call` on `deployment`.

        The caller closes the iterator; that cancels the generation and frees its slot.
        """
        replica = deployment.replica
        with replica.borrowed():
            client = await ready_client(replica)
            check(call, _capabilities(deployment))
            call = _with_recommended(call, deployment.card)
            if isinstance(call, ChatCall):
                call = await with_media(call, self._media)
            try:
                async with aclosing(_run(client, call, stream=stream)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except ModelUnreachable:  # nothing has reached it, so nothing is done twice
                client = await successor(replica, client)
            async with aclosing(_run(client, call, stream=stream)) as deltas:
                async for delta in deltas:
                    yield delta

    async def embed(self, deployment: Deployment, call: EmbedCall | ImageEmbedCall) -> Embeddings:
        """The vectors of `call` on `deployment`."""
        replica = deployment.replica
        with replica.borrowed():
            client = await ready_client(replica)
            check(call, _capabilities(deployment))
            try:
                return await _vectors(client, call)
            except ModelUnreachable:
                return await _vectors(await successor(replica, client), call)

    async def statuses(self) -> list[ReplicaStatus]:
        """All replicas, with what their engines say of themselves."""
        return [await self._status(deployment) for deployment in self.table]

    async def _status(self, deployment: Deployment) -> ReplicaStatus:
        replica, health = deployment.replica, Health()
        if replica.client is not None:
            try:
                health = await replica.client.health()
            except ZaffreError:  # it is on its way down; its supervisor will say so
                health = Health()
        return ReplicaStatus(
            deployment.name,
            deployment.engine,
            replica.state,
            replica.pid,
            health.active,
            health.waiting,
            replica.calls,
            replica.restarts,
            replica.cause,
        )


def _run(client: ModelClient, call: GenerationCall, *, stream: bool) -> Deltas:
    if isinstance(call, ChatCall):
        return client.chat(call, stream=stream)
    return client.complete(call, stream=stream)


async def _vectors(client: ModelClient, call: EmbedCall | ImageEmbedCall) -> Embeddings:
    if isinstance(call, EmbedCall):
        return await client.embed(call)
    return await client.embed_images(call)


def _with_recommended(call: GenerationCall, card: ModelCard) -> GenerationCall:
    """`call` with what the model's makers recommend where the client did not choose."""
    sampling = call.sampling
    if sampling.temperature is None:
        sampling = structs.replace(sampling, temperature=card.temperature)
    if sampling.top_p is None:
        sampling = structs.replace(sampling, top_p=card.top_p)
    return structs.replace(call, sampling=sampling)


def _capabilities(deployment: Deployment) -> Capabilities:
    if deployment.capabilities is None:
        raise EngineFailed(f"Model '{deployment.name}' has not said what it can do.")
    return deployment.capabilities
