"""Shapes: what the first gateway process and its siblings tell each other."""

from msgspec import Struct

from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.plan import DeploymentPlan, Plan
from zaffre.routing.replicas import ReplicaState
from zaffre.service.runs import Line

PREFIX = "/siblings/"
SECRET_HEADER = "x-zaffre-sibling"  # noqa: S105 - the name of a header
POLL_S = 20.0
"""How long a sibling's question for news waits for some."""


class Trouble(Struct, frozen=True):
    """Why a deployment could not be loaded when it was last asked for."""

    message: str
    retry_after_s: int


class ReplicaShown(Struct, frozen=True):
    """A replica that may be called, or will be."""

    id: str
    name: str
    state: ReplicaState
    cause: str
    capabilities: Capabilities | None
    line: Line | None
    """To its worker; None: other people's servers answer, and each process calls them itself."""


class DeploymentShown(Struct, frozen=True):
    """A deployment as it is in the fleet."""

    id: str
    plan: DeploymentPlan
    card: ModelCard
    engine: str
    max_calls: int
    created: int
    capabilities: Capabilities | None
    trouble: Trouble | None
    replicas: tuple[ReplicaShown, ...]


class Snapshot(Struct, frozen=True):
    """All that a sibling needs to serve."""

    version: int
    plan: Plan
    deployments: tuple[DeploymentShown, ...]


class Use(Struct, frozen=True, array_like=True):
    """What a sibling has to do with a deployment or a replica."""

    calls: int
    tokens: int = 0
    """Of a replica: as `Replica.tokens`, in that process."""
    idle_s: float = 0.0
    """Of a deployment: since its last call there."""


class Report(Struct, frozen=True):
    """What a sibling says of itself."""

    applied: int
    """Version of the snapshot that it goes by."""
    held: frozenset[str]
    """What this snapshot shows no longer and still has calls there."""
    uses: dict[str, Use]
    """By id; what it leaves out has no calls there."""


class Awaited(Struct, frozen=True):
    """A deployment that a call waits for, and the version of which it will be part."""

    endpoint: str
    name: str
    version: int = 0
