"""Azure Machine Learning's documents, in the subset that means something here."""

from collections.abc import Mapping

from zaffre.config.documents import Document
from zaffre.config.fields import (
    InlineModel,
    LimitFields,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
)
from zaffre.config.gathering import Gathering, Spot, texts
from zaffre.config.msgspec_paths import Steps
from zaffre.config.names import PATH_PREFIX
from zaffre.config.plan_changes import Kept
from zaffre.config.serving import limits, serving_options, upstreams
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Limits

_SAFETY_STATES = {"enabled": "default", "disabled": "off"}
_SAFETY_FIELDS = ("content_safety", "contentSafety")
_SAFETY_STATUS = ("contentSafetyStatus", "content_safety_status")
_IN_ZAFFRE: dict[str, Steps] = {
    name: ("zaffre", name)
    for name in ("hosts", "limits", "content_safety", "upstreams", "idle_unload_s")
}
_RUN_FIELDS = ("instance_type", "request_settings", "environment_variables")
_UNUSABLE_MODELS = ("mlflow_model", "triton_model")


def add_endpoint(gathering: Gathering, document: Document, fields: ManagedOnlineEndpoint) -> None:
    """A `managedOnlineEndpoint`."""
    spot = Spot(document, renamed=_IN_ZAFFRE)
    gathering.look_over(fields, spot)
    unsaid: set[Kept] = set()
    if fields.traffic is None:
        unsaid.add("traffic")
    if fields.mirror_traffic is None:
        unsaid.add("mirror_traffic")
    endpoint = EndpointPlan(
        name=fields.name,
        kind="managed",
        auth_mode=gathering.auth_mode(fields.auth_mode, spot),
        traffic=dict(fields.traffic or {}),
        mirror_traffic=dict(fields.mirror_traffic or {}),
        hosts=fields.zaffre.hosts,
        limits=limits(fields.zaffre.limits),
        content_safety=fields.zaffre.content_safety,
        tags=texts(fields.tags),
    )
    gathering.add_endpoint(endpoint, spot, frozenset(unsaid))


def add_deployment(
    gathering: Gathering, document: Document, fields: ManagedOnlineDeployment
) -> None:
    """A `managedOnlineDeployment`."""
    spot = Spot(document, renamed=_IN_ZAFFRE | {"endpoint": ("endpoint_name",)})
    gathering.look_over(fields, spot)
    _check_environment(gathering, spot, fields)
    model = fields.model
    written = _inline_model(gathering, spot, model) if isinstance(model, InlineModel) else model
    deployment = DeploymentPlan(
        name=fields.name,
        endpoint=fields.endpoint_name,
        model=gathering.model(written, spot),
        serving=serving_options(gathering, spot, fields, fields.zaffre),
        upstreams=upstreams(gathering, spot, fields.zaffre),
        limits=limits(fields.zaffre.limits),
        tags=texts(fields.tags),
    )
    gathering.add_deployment(deployment, spot)


def add_serverless(gathering: Gathering, document: Document, fields: ServerlessEndpoint) -> None:
    """A `serverlessEndpoint`: the endpoint and its one deployment, under the same name."""
    inside: dict[str, Steps] = {name: ("zaffre", name) for name in _RUN_FIELDS}
    spot = Spot(document, renamed=_IN_ZAFFRE | inside | {"model": ("model_id",)})
    gathering.look_over(fields, spot)
    endpoint = EndpointPlan(
        name=fields.name,
        kind="serverless",
        auth_mode=gathering.auth_mode(fields.auth_mode, spot),
        hosts=fields.zaffre.hosts,
        limits=_serverless_limits(gathering, spot, fields),
        content_safety=_serverless_safety(gathering, spot, fields),
        tags=texts(fields.tags),
    )
    deployment = DeploymentPlan(
        name=fields.name,
        endpoint=fields.name,
        model=gathering.model(fields.model_id, spot),
        serving=serving_options(gathering, spot, fields.zaffre, fields.zaffre),
        upstreams=upstreams(gathering, spot, fields.zaffre),
    )
    _look_over_properties(gathering, spot, fields.properties)
    gathering.add_endpoint(endpoint, spot)
    gathering.add_deployment(deployment, spot)


def _inline_model(gathering: Gathering, spot: Spot, model: InlineModel) -> str:
    """A model by its files as a reference."""
    if model.type in _UNUSABLE_MODELS:
        text = f"Zaffre cannot run an {model.type}; it runs GGUF, OpenVINO IR and ONNX files."
        gathering.refuse(spot, ("model", "type"), text)
    if "://" in model.path or model.path.startswith(PATH_PREFIX):
        text = "must be a file or folder on this machine; write others as `model: azureml:…`."
        gathering.refuse(spot, ("model", "path"), text)
    return PATH_PREFIX + model.path


def _check_environment(gathering: Gathering, spot: Spot, fields: ManagedOnlineDeployment) -> None:
    """A curated or registered environment only names what runs Azure's own servers."""
    environment = fields.environment
    if environment is None:
        return
    if isinstance(environment, Mapping):
        for name in ("image", "build", "inference_config", "docker"):
            if environment.get(name) is not None:
                text = "Zaffre runs no containers; declare the model alone, or its server as an"
                text += " upstream."
                gathering.refuse(spot, ("environment", name), text)
                return
    gathering.warn(spot, ("environment",), "is ignored: Zaffre runs models with its own engines.")


def _serverless_limits(
    gathering: Gathering, spot: Spot, fields: ServerlessEndpoint
) -> Limits | None:
    """Limits from `properties` or from `zaffre`, not from both."""
    written = {
        name: fields.properties[name]
        for name in LimitFields.__struct_fields__
        if fields.properties.get(name) is not None
    }
    if not written:
        return limits(fields.zaffre.limits)
    for name, value in written.items():
        # Azure's properties are texts.
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) < 1:
            gathering.refuse(spot, ("properties", name), "must be a whole number of at least 1.")
            return None
    if fields.zaffre.limits is not None:
        gathering.refuse(spot, ("limits",), "the limits are in `properties` already.")
    return Limits(**{name: int(value) for name, value in written.items()})


def _serverless_safety(gathering: Gathering, spot: Spot, fields: ServerlessEndpoint) -> str | None:
    """The policy's name: Azure only knows on and off."""
    policy = fields.zaffre.content_safety
    for name in _SAFETY_FIELDS:
        written = fields.properties.get(name)
        if written is None:
            continue
        if isinstance(written, Mapping):
            written = next((written[key] for key in _SAFETY_STATUS if key in written), None)
        state = _SAFETY_STATES.get(str(written).lower())
        if state is None:
            gathering.refuse(spot, ("properties", name), "must be Enabled or Disabled.")
        elif policy is not None and (policy == "off") != (state == "off"):
            text = f"is {written} in `properties`, but '{policy}' here."
            gathering.refuse(spot, ("content_safety",), text)
        return policy or state
    return policy


def _look_over_properties(
    gathering: Gathering, spot: Spot, properties: Mapping[str, object]
) -> None:
    known = {*LimitFields.__struct_fields__, *_SAFETY_FIELDS}
    for name in properties:
        if name not in known:
            gathering.warn(spot, ("properties", name), "is ignored: it means nothing here.")
