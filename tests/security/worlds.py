"""A world with several tenants, in this process: the application over models that only take notes.

Who was reached is in the notes; names are words that occur nowhere else.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zaffre.asgi.exchange import Message
from zaffre.auth.policy import Place
from zaffre.core.calls import EmbedCall, GenerationCall, ImageEmbedCall, Operation
from zaffre.core.capabilities import GENERATION_PARAMETERS, Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Batches, Delta, Embeddings, Finish, TextDelta, Usage
from zaffre.core.engine import Health
from zaffre.core.plan import AuthMode, DeploymentPlan, EndpointPlan
from zaffre.core.principals import Principal
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Endpoint, Table
from zaffre.server.app import Doorkeeper, GatewayApp, Options
from zaffre.service.fleet import Fleet
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.service.runs import Bounds

ALL_OPERATIONS: tuple[Operation, ...] = ("chat", "complete", "embed", "embed_images")


@dataclass(frozen=True)
class Model:
    """A deployment to be."""

    name: str
    model: str
    endpoint: str | None = None
    operations: tuple[Operation, ...] = ALL_OPERATIONS

    @property
    def names(self) -> set[str]:
        """Whatever of it could leak, its endpoint's name apart."""
        return {self.name, self.model, f"{self.model}-title", f"{self.model}-maker"}


ENDPOINTS = (
    EndpointPlan(
        name="qshop",
        traffic={"qblue": 60, "qgreen": 30, "qgrey": 10},
        hosts=("store.example",),
    ),
    EndpointPlan(
        name="qlab", auth_mode="aad_token", traffic={"qonly": 100}, hosts=("bench.example",)
    ),
    EndpointPlan(name="qtok", auth_mode="aml_token", traffic={"qone": 100}),
    EndpointPlan(name="qsolo", kind="serverless"),
    EndpointPlan(name="qidle"),
)
MODELS = (
    Model("qecho", "mamber"),
    Model("qelm", "melm", operations=("embed", "embed_images")),
    Model("qblue", "mamber", "qshop"),
    Model("qgreen", "mberyl", "qshop"),
    Model("qgrey", "mcoral", "qshop", ("embed",)),
    Model("qonly", "mcoral", "qlab"),
    Model("qone", "mamber", "qtok"),
    Model("qsolo", "mdahlia", "qsolo"),
    Model("qspare", "mberyl", "qidle"),
)
MODES: dict[str | None, AuthMode | None] = {None: None, **{e.name: e.auth_mode for e in ENDPOINTS}}


def place_of(model: Model) -> Place:
    """Where permission to use `model` is asked."""
    return Place(
        deployment=model.name,
        model=model.model,
        endpoint=model.endpoint,
        auth_mode=MODES[model.endpoint],
    )


class Noting:
    """A client that answers everything, and notes who was reached."""

    def __init__(self, model: Model, reached: list[Model]) -> None:
        self._model, self._reached = model, reached

    async def stream(self, call: GenerationCall) -> Batches:
        self._reached.append(self._model)
        yield [TextDelta("yes")]
        yield [Finish("stop"), Usage(1, 1)]

    async def answer(self, call: GenerationCall) -> list[Delta]:
        return [delta async for batch in self.stream(call) for delta in batch]

    async def embed(self, call: EmbedCall) -> Embeddings:
        self._reached.append(self._model)
        return Embeddings((b"\0\0\0\0",), Usage(1))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        self._reached.append(self._model)
        return Embeddings((b"\0\0\0\0",), Usage(1))

    async def health(self) -> Health:
        return Health()


class OneCaller:
    """A door behind which there is one caller, whatever a request shows."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        return self.principal


@dataclass
class Reply:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The word for what went wrong, in whatever dialect."""
        if self.status < 400:
            return None
        error = self.json["error"]
        return str(error["code"] or error["type"])

    @property
    def shown(self) -> str:
        """All that the caller can read."""
        return f"{self.headers}\n{self.body.decode()}"


@dataclass(frozen=True)
class World:
    """One application."""

    app: GatewayApp
    reached: list[Model] = field(default_factory=list)
    """The models that were called, first to last."""

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Send one request, and wait for the whole answer."""
        pieces = [b"" if body is None else json.dumps(body).encode()]
        sent: list[Message] = []

        async def receive() -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }
        await self.app(scope, receive, send)
        shown = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], shown, b"".join(m["body"] for m in sent[1:]))


def make_world(
    door: Doorkeeper, models: Sequence[Model] = MODELS, empty: str | None = None
) -> World:
    """An application with these models behind `door`. Endpoints without any are not there, but for
    the one called `empty`."""
    reached: list[Model] = []
    deployments = {model: _deployment(model, reached) for model in models}
    endpoints = [
        Endpoint(plan, {m.name: d for m, d in deployments.items() if m.endpoint == plan.name})
        for plan in ENDPOINTS
        if plan.name == empty or any(model.endpoint == plan.name for model in models)
    ]
    root = [d for model, d in deployments.items() if model.endpoint is None]
    defaults: dict[Operation, str] = {"chat": "qecho", "embed": "qelm"}
    gateway = Gateway(Table(root, endpoints, defaults), draw=_Steps().next)
    fleet = Fleet(Bounds(), upstream_run=None, on_table=None)  # type: ignore[arg-type]
    platform = Platform(fleet, None)  # type: ignore[arg-type]
    return World(GatewayApp(gateway, door, platform, Options(max_body_bytes=100_000)), reached)


class _Steps:
    """Points in [0, 1) that go all over it, the same ones in every world."""

    def __init__(self) -> None:
        self._point = 0.0

    def next(self) -> float:
        self._point = (self._point + 0.381966) % 1
        return self._point


def _deployment(model: Model, reached: list[Model]) -> Deployment:
    card = ModelCard(
        name=model.model,
        title=f"{model.model}-title",
        provider=f"{model.model}-maker",
        format="echo",
        operations=model.operations,
    )
    able = Capabilities(
        model=model.model,
        engine="echo",
        operations=frozenset(model.operations),
        parameters=GENERATION_PARAMETERS,
    )
    plan = DeploymentPlan(name=model.name, model=model.model, endpoint=model.endpoint)
    deployment = Deployment(plan, card, "echo", max_calls=9, created=0)
    replica = Replica(model.name, deployment.changed)
    deployment.replicas.append(replica)
    replica.serves(Noting(model, reached), able)
    return deployment
