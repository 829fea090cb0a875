"""The application in this process: requests as ASGI messages, and a model that says its part."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from zaffre.asgi.exchange import Message
from zaffre.core.calls import (
    OPERATIONS,
    EmbedCall,
    GenerationCall,
    ImageEmbedCall,
)
from zaffre.core.capabilities import GENERATION_PARAMETERS, Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Batches, Delta, Embeddings, Usage
from zaffre.core.engine import Health
from zaffre.core.plan import DeploymentPlan
from zaffre.core.principals import Principal
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Table
from zaffre.server.app import GatewayApp, Options
from zaffre.service.fleet import Fleet
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.service.runs import Bounds

KEY = b"a-key"
CHAT = b'{"messages":[{"role":"user","content":"hi"}]}'


class Exchange:
    """One request to an application in this process."""

    def __init__(self, method: str, target: str, *pieces: bytes, **headers: str) -> None:
        shown = [(name.replace("_", "-").encode(), v.encode()) for name, v in headers.items()]
        self.scope = {
            "type": "http",
            "method": method,
            "path": target.partition("?")[0],
            "query_string": target.partition("?")[2].encode(),
            "headers": [(b"api-key", KEY), *shown],
        }
        self._pieces = list(pieces)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def receive_whole(self) -> Message:
        if self._pieces:
            body = self._pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._pieces)}
        return await self.receive()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def answer(self) -> tuple[int, Any]:
        return self.sent[0]["status"], json.loads(self.body)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class OpenDoor:
    """Everybody may do everything."""

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        return Principal("test", permissions=frozenset({"call", "admin", "read_usage"}))


def platform_of() -> Platform:
    """A platform that runs nothing."""
    fleet = Fleet(Bounds(), upstream_run=None, on_table=None)  # type: ignore[arg-type]
    return Platform(fleet, None)  # type: ignore[arg-type]


def app(gateway: Gateway, **options: Any) -> GatewayApp:
    return GatewayApp(gateway, OpenDoor(), platform_of(), Options(max_body_bytes=1000, **options))


class Speaker:
    """A replica's client that gives every call the same answer."""

    def __init__(self, deltas: Sequence[Delta]) -> None:
        self._deltas = deltas

    async def stream(self, call: GenerationCall) -> Batches:
        if self._deltas:
            yield list(self._deltas)

    async def answer(self, call: GenerationCall) -> list[Delta]:
        return list(self._deltas)

    async def embed(self, call: EmbedCall) -> Embeddings:
        return Embeddings(tuple(b"\0\0\0\0" for _ in call.texts), Usage(1))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        return Embeddings(tuple(b"\0\0\0\0" for _ in call.inputs), Usage(1))

    async def health(self) -> Health:
        return Health()


def speaking(*deltas: Delta) -> Gateway:
    """A gateway with one model, which says `deltas`."""
    card = ModelCard(name="m", format="echo", operations=OPERATIONS)
    able = Capabilities(
        model="m",
        engine="e",
        operations=frozenset(OPERATIONS),
        parameters=GENERATION_PARAMETERS,
    )
    plan = DeploymentPlan(name="m", model="m")
    deployment = Deployment(plan, card, "echo", max_calls=9, created=0)
    replica = Replica("m", deployment.changed)
    deployment.replicas.append(replica)
    replica.serves(Speaker(deltas), able)
    return Gateway(Table([deployment]))
