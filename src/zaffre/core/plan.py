"""The plan: every endpoint and deployment that is to be, declared and not yet running.

Pure data: whoever reads a file or an admin request makes one, whoever runs models follows it. It is
replaced whole, never changed.
"""

from typing import Literal

from msgspec import Struct

from zaffre.core.calls import Operation

EndpointKind = Literal["managed", "serverless"]
AuthMode = Literal["key", "aml_token", "aad_token"]
UpstreamDialect = Literal["openai", "azure-inference", "azure-openai"]
Loading = Literal["start", "first_use"]
Device = Literal["cpu", "gpu"]


class Probe(Struct, frozen=True):
    """How a replica's health is watched (Azure's `liveness_probe` and `readiness_probe`)."""

    initial_delay_s: float = 10.0
    period_s: float = 10.0
    timeout_s: float = 2.0
    success_threshold: int = 1
    failure_threshold: int = 30


class Upstream(Struct, frozen=True, kw_only=True):
    """Somebody else's server that answers for a deployment."""

    url: str
    """Its base URL: what the dialect's paths are put behind."""
    dialect: UpstreamDialect = "openai"
    model: str | None = None
    """Its name for the model or, for `azure-openai`, the deployment. None: as here."""
    api_version: str | None = None
    key_env: str | None = None
    """Environment variable of the server that holds the credential; never the credential itself."""
    key_file: str | None = None
    """File that holds the credential, read at each start."""
    priority: int = 0
    """Lower first; others are asked when all of a lower number are out."""
    weight: int = 1
    """Share among those of one priority, at least 1."""
    max_calls: int = 64
    """Calls at a time; one more is refused or goes elsewhere."""
    connect_timeout_s: float = 5.0
    timeout_s: float = 180.0
    """For the first byte, and between two."""
    operations: tuple[Operation, ...] = ()
    """What it does; empty: as probed, else chat and complete."""
    parameters: tuple[str, ...] | None = None
    """Generation parameters it takes, by wire name; None: all of its dialect."""
    content_parts: tuple[str, ...] | None = None
    """Of `text`, `image`, `audio`; None: as probed, else all."""
    formats: tuple[str, ...] | None = None
    """Of `text`, `json_object`, `json_schema`; None: as probed, else all."""
    tools: bool | None = None
    """Whether it can call tools; None: as probed, else yes."""
    context_length: int | None = None
    """Tokens; None: as probed, else left to the server."""
    dimensions: int | None = None
    """Length of its vectors; None: as probed, else not known."""


class ServingOptions(Struct, frozen=True, kw_only=True):
    """How a deployment's replicas run. None: as the server's settings say."""

    engine: str | None = None
    options: dict[str, str | int | float | bool] = {}
    slots: int | None = None
    threads: int | None = None
    """Processor threads of an instance; never more than the machine has to give."""
    memory_mib: int | None = None
    instance_type: str | None = None
    """As declared; what it stands for is in `threads`, `memory_mib` and `device` already."""
    device: Device | None = None
    """What the instance type computes on; an engine's own options go before it."""
    instances: int = 1
    loading: Loading = "start"
    idle_unload_s: float | None = None
    """Unloaded after this long without a call; None: never."""
    hedge_after_s: float | None = None
    """After so long without a first token another upstream is asked as well; None: never."""
    request_timeout_s: float | None = None
    max_calls_per_instance: int | None = None
    """Azure's `max_concurrent_requests_per_instance`: beyond twice this per instance comes 429."""
    liveness: Probe = Probe()
    readiness: Probe = Probe()
    environment: dict[str, str] = {}
    """Variables of the worker process."""


class Limits(Struct, frozen=True, kw_only=True):
    """What may be used in a time, by one key of an endpoint or by all together. None: no bound."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None


class DeploymentPlan(Struct, frozen=True, kw_only=True):
    """One deployment: a model, its engine's options, and how many run."""

    name: str
    endpoint: str | None = None
    """None: at the server's root alone."""
    model: str
    """A model in the store or catalogue, `hf:repo[@revision][:file]`, `path:` and an absolute path,
    `echo`, or `upstream:`."""
    serving: ServingOptions = ServingOptions()
    upstreams: tuple[Upstream, ...] = ()
    limits: Limits | None = None
    """For all its callers together; None: only those of its endpoint and of the key."""
    tags: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others: endpoint (or "") and name, in lower case."""
        return (self.endpoint or "").lower(), self.name.lower()


class EndpointPlan(Struct, frozen=True, kw_only=True):
    """A public name: serverless with one model, or managed with traffic over deployments."""

    name: str
    kind: EndpointKind = "managed"
    auth_mode: AuthMode = "key"
    traffic: dict[str, int] = {}
    """Percent per deployment; they add up to 100, or there is no traffic."""
    mirror_traffic: dict[str, int] = {}
    """At most one deployment, at most 50 percent."""
    hosts: tuple[str, ...] = ()
    """Host names on which this endpoint alone answers, besides its path."""
    limits: Limits | None = None
    """None: none for managed; 200,000 tokens and 1,000 requests per minute for serverless."""
    content_safety: str | None = None
    """Name of the policy; None: `default` for serverless and `off` for managed, as on Azure."""
    tags: dict[str, str] = {}


class Plan(Struct, frozen=True, kw_only=True):
    """All endpoints and deployments, and who answers when nobody is named."""

    endpoints: tuple[EndpointPlan, ...] = ()
    deployments: tuple[DeploymentPlan, ...] = ()
    defaults: dict[Operation, str] = {}
    """Operation -> deployment or endpoint at the server's root."""
