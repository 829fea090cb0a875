"""Serving: from the fields of a document to a deployment's options, limits and upstreams."""

from urllib.parse import SplitResult, urlsplit

from msgspec.structs import asdict

from zaffre.config.fields import (
    EngineFields,
    LimitFields,
    ManagedOnlineDeployment,
    ProbeFields,
    ServingFields,
    UpstreamFields,
)
from zaffre.config.gathering import Gathering, Spot, texts
from zaffre.config.instances import UNKNOWN_SIZE, InstanceType, instance_type
from zaffre.core.plan import Limits, Probe, ServingOptions, Upstream

MS_PER_S = 1000
EXECUTED_VARIABLES = ("LD_", "DYLD_", "PYTHON")
"""Variables that begin so make a process run other code: they are the operator's alone."""


def serving_options(
    gathering: Gathering,
    spot: Spot,
    fields: ServingFields | ManagedOnlineDeployment,
    engine: EngineFields,
) -> ServingOptions:
    """How the replicas of a deployment run. `spot` knows where the engine's fields are."""
    size = _size(gathering, spot, fields.instance_type)
    requests = fields.request_settings
    timeout_ms = requests.request_timeout_ms
    return ServingOptions(
        engine=engine.engine,
        options=dict(engine.options),
        slots=engine.slots,
        threads=engine.threads or size.threads,
        memory_mib=engine.memory_mib or size.memory_mib,
        instance_type=fields.instance_type,
        device=size.device,
        instances=_instances(gathering, spot, fields),
        loading=engine.loading,
        idle_unload_s=engine.idle_unload_s,
        hedge_after_s=engine.hedge_after_s,
        request_timeout_s=None if timeout_ms is None else timeout_ms / MS_PER_S,
        max_calls_per_instance=requests.max_concurrent_requests_per_instance,
        liveness=_probe(fields.liveness_probe),
        readiness=_probe(fields.readiness_probe),
        environment=_environment(gathering, spot, fields),
    )


def upstreams(gathering: Gathering, spot: Spot, engine: EngineFields) -> tuple[Upstream, ...]:
    """Who answers for a deployment that runs no model itself."""
    return tuple(
        _upstream(gathering, spot, number, fields) for number, fields in enumerate(engine.upstreams)
    )


def limits(fields: LimitFields | None) -> Limits | None:
    """What may be used in a time."""
    return None if fields is None else Limits(**asdict(fields))


def _size(gathering: Gathering, spot: Spot, name: str | None) -> InstanceType:
    if name is None:
        return UNKNOWN_SIZE
    size = instance_type(name)
    if size is None:
        text = f"nobody knows the size of '{name}': the server's settings decide."
        gathering.warn(spot, ("instance_type",), text)
    return size or UNKNOWN_SIZE


def _instances(
    gathering: Gathering, spot: Spot, fields: ServingFields | ManagedOnlineDeployment
) -> int:
    scale = fields.scale_settings if isinstance(fields, ManagedOnlineDeployment) else None
    if scale is None or scale.type == "default":
        return fields.instance_count or 1
    lowest, highest = scale.min_instances, scale.max_instances
    if lowest is not None and lowest == highest:
        if fields.instance_count not in (None, lowest):
            text = f"instance_count says {fields.instance_count}, scale_settings {lowest}."
            gathering.refuse(spot, ("scale_settings",), text)
        return lowest
    number = fields.instance_count or lowest or 1
    text = f"is ignored: Zaffre does not scale by itself, and keeps {number} running."
    gathering.warn(spot, ("scale_settings", "type"), text)
    return number


def _probe(fields: ProbeFields) -> Probe:
    return Probe(
        initial_delay_s=fields.initial_delay,
        period_s=fields.period,
        timeout_s=fields.timeout,
        success_threshold=fields.success_threshold,
        failure_threshold=fields.failure_threshold,
    )


def _environment(
    gathering: Gathering, spot: Spot, fields: ServingFields | ManagedOnlineDeployment
) -> dict[str, str]:
    variables = texts(fields.environment_variables)
    for name, value in variables.items():
        field = ("environment_variables", name)
        if "=" in name or "\0" in name + value:
            gathering.refuse(spot, field, "cannot be a variable: '=' or a zero byte is in it.")
        elif name.upper().startswith(EXECUTED_VARIABLES):
            text = "would change what the worker executes; set it for the server itself."
            gathering.refuse(spot, field, text)
    return variables


def _upstream(gathering: Gathering, spot: Spot, number: int, fields: UpstreamFields) -> Upstream:
    place = ("upstreams", number)
    problem = _url_problem(fields.url)
    if problem:
        gathering.refuse(spot, (*place, "url"), problem)
    if fields.key_env is not None and fields.key_file is not None:
        gathering.refuse(spot, (*place, "key_file"), "use either key_env or key_file.")
    key_file = gathering.path(fields.key_file, spot, (*place, "key_file"))
    values = asdict(fields) | {"url": fields.url.rstrip("/"), "key_file": key_file}
    return Upstream(**values)


def _url_problem(url: str) -> str:
    """What is wrong with a base URL; empty when nothing is."""
    try:
        parts: SplitResult = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as nonsense:
        return f"is no URL: {nonsense}."
    if not host:
        return "is no URL: it has no host."
    if parts.username is not None or parts.password is not None:
        return "must not hold a key; use key_env or key_file."
    if parts.query or parts.fragment:
        return "must be a base URL, without '?' and '#'."
    return ""
