"""The fields of declarations: one struct per kind of document, read by us and by editors.

The descriptions go into the JSON Schema (docs/reference/zaffre.schema.json). What a struct cannot
say, as that shares add up to 100, is checked in `plan`.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from zaffre.config.auth_section import AuthDeclaration
from zaffre.core.calls import Operation
from zaffre.core.plan import EndpointKind, Loading, UpstreamDialect
from zaffre.core.safety import ContentSafety

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Scalar = str | Integer | float | bool
MAX_INTEGER = 2**53
MAX_INSTANCES = 64

Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Instances = Annotated[int, Meta(ge=1, le=MAX_INSTANCES, description="Worker processes.")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Quota = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Tags = Annotated[dict[str, Scalar], Meta(description="Labels, shown and not looked at.")]
Shares = dict[str, Annotated[int, Meta(ge=0, le=100)]]
AuthModeText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32,
        description="Who may call: a key, or a token.",
        extra_json_schema={"enum": ["key", "aml_token", "aad_token", "aad"]},
    ),
]
Ignored = Annotated[Any, Meta(description="Accepted with a warning: it means nothing here.")]
Filled = Annotated[Any, Meta(description="Filled in by the server; accepted and not looked at.")]
Refused = Annotated[Any, Meta(description="Refused: leaving it out would change what is served.")]
Variables = Annotated[
    dict[Name, Scalar], Meta(description="Environment variables of the worker process.")
]
Hosts = Annotated[
    tuple[Name, ...], Meta(description="Host names on which this endpoint alone answers.")
]
Policy = Annotated[Name, Meta(description="Name of a content safety policy, or off.")]


class _Declared(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping in a document; a field that nobody knows is an error."""


class UpstreamFields(_Declared, frozen=True, kw_only=True):
    """Somebody else's server that answers for a deployment."""

    url: Annotated[
        str, Meta(pattern=r"^https?://[^\s/]", max_length=2048, description="Its base URL.")
    ]
    dialect: Annotated[UpstreamDialect, Meta(description="Which API it speaks.")] = "openai"
    model: Annotated[
        Name | None, Meta(description="Its name for the model; for azure-openai, the deployment.")
    ] = None
    api_version: Annotated[Name | None, Meta(description="Sent as api-version.")] = None
    key_env: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None,
        Meta(description="Environment variable of the server that holds the key."),
    ] = None
    key_file: Annotated[Name | None, Meta(description="File that holds the key.")] = None
    priority: Annotated[int, Meta(ge=0, le=100, description="Lower first.")] = 0
    weight: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Share among those of one priority.")
    ] = 1
    max_calls: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at a time.")] = 64
    connect_timeout_s: Seconds = 5.0
    timeout_s: Annotated[
        float, Meta(gt=0, le=86_400, description="For the first byte, and between two.")
    ] = 180.0
    operations: Annotated[
        tuple[Operation, ...], Meta(description="What it does; empty: chat and complete.")
    ] = ()
    parameters: Annotated[
        tuple[Name, ...] | None,
        Meta(description="Generation parameters it takes; null: all of its dialect."),
    ] = None
    content_parts: Annotated[
        tuple[Literal["text", "image", "audio"], ...] | None,
        Meta(description="What messages may hold; null: as probed, else all."),
    ] = None
    formats: Annotated[
        tuple[Literal["text", "json_object", "json_schema"], ...] | None,
        Meta(description="Response formats; null: as probed, else all."),
    ] = None
    tools: Annotated[
        bool | None, Meta(description="Whether it can call tools; null: as probed, else yes.")
    ] = None
    context_length: Annotated[
        Count | None, Meta(description="Tokens; null: as probed, else left to the server.")
    ] = None
    dimensions: Annotated[
        Count | None, Meta(description="Length of its vectors; null: as probed, else not known.")
    ] = None


class LimitFields(_Declared, frozen=True, kw_only=True):
    """What may be used in a time. What is left out is not limited."""

    requests_per_minute: Quota | None = None
    tokens_per_minute: Quota | None = None
    concurrent_requests: Quota | None = None
    tokens_per_day: Quota | None = None
    tokens_per_month: Quota | None = None


class ProbeFields(_Declared, frozen=True, kw_only=True):
    """How a replica's health is watched."""

    initial_delay: Annotated[float, Meta(ge=0, le=86_400, description="Seconds.")] = 10.0
    period: Annotated[float, Meta(gt=0, le=86_400, description="Seconds.")] = 10.0
    timeout: Annotated[float, Meta(gt=0, le=86_400, description="Seconds.")] = 2.0
    success_threshold: Count = 1
    failure_threshold: Count = 30


class RequestSettings(_Declared, frozen=True, kw_only=True):
    """Bounds on requests."""

    request_timeout_ms: Annotated[
        Milliseconds | None, Meta(description="For the first byte, and between two.")
    ] = None
    max_concurrent_requests_per_instance: Annotated[
        Count | None, Meta(description="Beyond twice this per instance comes 429.")
    ] = None
    max_queue_wait_ms: Ignored = None


class EngineFields(_Declared, frozen=True, kw_only=True):
    """What Zaffre can be told about a deployment beyond what Azure knows."""

    engine: Annotated[
        Name | None, Meta(description="openvino, llama, onnx or echo; else chosen by the model.")
    ] = None
    options: Annotated[
        dict[str, Scalar], Meta(description="The engine's own options, see engines.md.")
    ] = {}
    slots: Annotated[
        Count | None, Meta(description="Requests an instance works on at the same time.")
    ] = None
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(description="Processor threads of an instance."),
    ] = None
    memory_mib: Annotated[
        Annotated[int, Meta(ge=1, le=2**30)] | None, Meta(description="Memory of an instance.")
    ] = None
    loading: Annotated[
        Loading, Meta(description="When the model is loaded: at the start or at the first call.")
    ] = "start"
    idle_unload_s: Annotated[
        Seconds | None, Meta(description="Unloaded after so long without a call.")
    ] = None
    upstreams: Annotated[
        tuple[UpstreamFields, ...], Meta(description="For `model: upstream`: who answers.")
    ] = ()
    hedge_after_s: Annotated[
        Seconds | None,
        Meta(description="Without a first token for so long, another upstream is asked as well."),
    ] = None


class ServingFields(EngineFields, frozen=True, kw_only=True):
    """How a deployment's replicas run, by Azure's names where Azure has one."""

    instance_type: Annotated[Name | None, Meta(description="Threads, memory and device.")] = None
    instance_count: Instances | None = None
    request_settings: RequestSettings = RequestSettings()
    liveness_probe: ProbeFields = ProbeFields()
    readiness_probe: ProbeFields = ProbeFields()
    environment_variables: Variables | None = None


class DeploymentExtras(EngineFields, frozen=True, kw_only=True):
    """What Zaffre can be told about a managed deployment beyond what Azure knows."""

    limits: LimitFields | None = None


class GuardFields(_Declared, frozen=True, kw_only=True):
    """Where an endpoint answers, and what it bounds, beyond what Azure knows."""

    hosts: Hosts = ()
    limits: LimitFields | None = None
    content_safety: Policy | None = None


class ServerlessExtras(ServingFields, frozen=True, kw_only=True):
    """What Zaffre can be told about a serverless endpoint beyond what Azure knows."""

    hosts: Hosts = ()
    limits: LimitFields | None = None
    content_safety: Policy | None = None


class ShortDeployment(ServingFields, frozen=True, kw_only=True):
    """A model to serve."""

    name: Annotated[Name, Meta(description="What clients send as `model`.")]
    model: Annotated[Name, Meta(description="Which model, see declarations.md.")]
    endpoint: Annotated[
        Name | None, Meta(description="The managed endpoint it belongs to; none: the root.")
    ] = None
    limits: LimitFields | None = None
    tags: Tags = {}


class ShortEndpoint(GuardFields, frozen=True, kw_only=True):
    """A public name with keys of its own."""

    name: Name
    kind: EndpointKind | None = None
    model: Annotated[Name | None, Meta(description="Makes it serverless, with this model.")] = None
    auth_mode: AuthModeText = "key"
    traffic: Annotated[Shares | None, Meta(description="Percent per deployment.")] = None
    mirror_traffic: Annotated[Shares | None, Meta(description="Percent of one deployment.")] = None
    tags: Tags = {}


class ShortForm(_Declared, frozen=True, kw_only=True):
    """Zaffre's own form: everything of a server in one document."""

    schema: Annotated[Text | None, Meta(description="For editors.")] = field(
        name="$schema", default=None
    )
    settings: Annotated[dict[str, Any], Meta(description="See settings.md.")] = {}
    endpoints: tuple[ShortEndpoint, ...] = ()
    deployments: tuple[ShortDeployment, ...] = ()
    defaults: Annotated[
        dict[str, Name],
        Meta(description="Who answers an operation when a request names no model."),
    ] = {}
    auth: Annotated[
        AuthDeclaration | None, Meta(description="Keys kept elsewhere, and issuers of tokens.")
    ] = None
    content_safety: Annotated[
        ContentSafety | None, Meta(description="Policies, blocklists and who judges.")
    ] = None


class _Resource(_Declared, frozen=True, kw_only=True):
    """What all of Azure's documents have."""

    schema: Annotated[Text | None, Meta(description="Azure's schema: tells the kind.")] = field(
        name="$schema", default=None
    )
    name: Name
    type: Annotated[Name | None, Meta(description="Tells the kind where there is no $schema.")] = (
        None
    )
    kind: Annotated[Name | None, Meta(description="`Managed`; others are refused.")] = None
    tags: Tags | None = None
    description: Ignored = None
    identity: Ignored = None
    location: Filled = None
    id: Filled = None
    provisioning_state: Filled = None
    system_data: Filled = None
    resource_group: Filled = field(name="resourceGroup", default=None)


class ManagedOnlineEndpoint(_Resource, frozen=True, kw_only=True):
    """Azure's `managedOnlineEndpoint`: a public name in front of deployments."""

    auth_mode: AuthModeText = "key"
    traffic: Annotated[
        Shares | None, Meta(description="Percent per deployment; left out: what it was.")
    ] = None
    mirror_traffic: Annotated[
        Shares | None, Meta(description="Percent that one deployment gets a copy of.")
    ] = None
    public_network_access: Ignored = None
    properties: Ignored = None
    compute: Refused = None
    scoring_uri: Filled = None
    openapi_uri: Filled = None
    zaffre: GuardFields = GuardFields()


class InlineModel(_Declared, frozen=True, kw_only=True):
    """A model by its files, as Azure declares it inside a deployment."""

    path: Annotated[Text, Meta(description="File or folder, relative to this file.")]
    type: Annotated[Name | None, Meta(description="`custom_model`; others are refused.")] = None
    name: Ignored = None
    version: Ignored = None
    description: Ignored = None
    tags: Ignored = None
    properties: Ignored = None
    flavors: Ignored = None
    stage: Ignored = None


class ScaleSettings(_Declared, frozen=True, kw_only=True):
    """How many instances; Zaffre does not change their number by itself."""

    type: Annotated[
        Literal["default", "target_utilization"], Meta(description="`default`: instance_count.")
    ]
    min_instances: Instances | None = None
    max_instances: Instances | None = None
    polling_interval: Ignored = None
    target_utilization_percentage: Ignored = None


class ManagedOnlineDeployment(_Resource, frozen=True, kw_only=True):
    """Azure's `managedOnlineDeployment`: a model behind an endpoint."""

    endpoint_name: Annotated[Name | None, Meta(description="null: at the server's root.")]
    model: Annotated[Name | InlineModel, Meta(description="Which model, see declarations.md.")]
    instance_type: Annotated[Name | None, Meta(description="Threads, memory and device.")] = None
    instance_count: Instances | None = None
    request_settings: RequestSettings = RequestSettings()
    liveness_probe: ProbeFields = ProbeFields()
    readiness_probe: ProbeFields = ProbeFields()
    scale_settings: ScaleSettings | None = None
    environment_variables: Variables | None = None
    app_insights_enabled: Ignored = None
    egress_public_network_access: Ignored = None
    private_network_connection: Ignored = None
    data_collector: Ignored = None
    model_mount_path: Ignored = None
    properties: Ignored = None
    environment: Annotated[
        Any, Meta(description="A name is ignored with a warning, an image is refused.")
    ] = None
    code_configuration: Refused = None
    resources: Refused = None
    creation_context: Filled = None
    zaffre: DeploymentExtras = DeploymentExtras()


class ServerlessEndpoint(_Resource, frozen=True, kw_only=True):
    """Azure's `serverlessEndpoint`: a public name for one model."""

    model_id: Annotated[Text, Meta(min_length=1, description="Which model, see declarations.md.")]
    auth_mode: AuthModeText = "key"
    properties: Annotated[
        dict[str, Any], Meta(description="Limits and content safety; others are ignored.")
    ] = {}
    scoring_uri: Filled = None
    headers: Filled = None
    zaffre: ServerlessExtras = ServerlessExtras()
