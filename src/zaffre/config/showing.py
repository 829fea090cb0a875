"""Showing: the plan as Azure's command line prints it, and as it could be declared again."""

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from zaffre.config.instances import instance_type
from zaffre.config.names import UPSTREAM_MODEL
from zaffre.config.plan_changes import find_deployment, find_endpoint
from zaffre.config.serving import MS_PER_S
from zaffre.core.plan import (
    DeploymentPlan,
    EndpointPlan,
    Limits,
    Plan,
    Probe,
    ServingOptions,
    Upstream,
)

Shown = dict[str, Any]
_ENGINE_FIELDS = ("engine", "options", "slots", "threads", "memory_mib")


def show_endpoint(plan: Plan, name: str) -> Shown:
    """A managed or serverless endpoint as Azure's `show` prints it. Raises `NotFound`.

    Declared again, it gives the same endpoint. `scoring_uri` and `provisioning_state` are for the
    server to fill in.
    """
    endpoint = find_endpoint(plan, name)
    if endpoint.kind == "serverless":
        return _serverless(endpoint, find_deployment(plan, endpoint.name, endpoint.name))
    return {
        "name": endpoint.name,
        "kind": "Managed",
        "auth_mode": endpoint.auth_mode,
        "traffic": dict(endpoint.traffic),
        "mirror_traffic": dict(endpoint.mirror_traffic),
        "scoring_uri": None,
        "provisioning_state": None,
        "tags": dict(endpoint.tags),
        **_extras(_guards(endpoint)),
    }


def show_deployment(plan: Plan, endpoint: str | None, name: str) -> Shown:
    """A deployment as Azure's `show` prints it; `endpoint` is None at the root. Raises `NotFound`.

    Declared again, it gives the same deployment. `provisioning_state` is for the server to fill in.
    """
    deployment = find_deployment(plan, endpoint, name)
    serving = deployment.serving
    return {
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "type": "managed",
        "model": _model(deployment.model),
        "instance_type": serving.instance_type,
        "instance_count": serving.instances,
        **_running(serving),
        "scale_settings": {"type": "default"},
        "environment_variables": dict(serving.environment),
        "provisioning_state": None,
        "tags": dict(deployment.tags),
        **_extras(_engine(deployment)),
    }


def list_endpoints(plan: Plan, kind: str = "managed") -> list[Shown]:
    """All endpoints of a kind, in the order of their declaration."""
    return [show_endpoint(plan, e.name) for e in plan.endpoints if e.kind == kind]


def list_deployments(plan: Plan, endpoint: str | None) -> list[Shown]:
    """All deployments of an endpoint, or of the root. Raises `NotFound`."""
    owner = None if endpoint is None else find_endpoint(plan, endpoint).name.lower()
    return [
        show_deployment(plan, d.endpoint, d.name)
        for d in plan.deployments
        if d.key[0] == (owner or "")
    ]


def _serverless(endpoint: EndpointPlan, deployment: DeploymentPlan) -> Shown:
    serving = deployment.serving
    running = _running(serving)
    if not running["request_settings"]:
        del running["request_settings"]
    for field, probe in (
        ("liveness_probe", serving.liveness),
        ("readiness_probe", serving.readiness),
    ):
        if probe == Probe():
            del running[field]
    extras = _guards(endpoint) | _engine(deployment) | running
    if serving.instance_type is not None:
        extras["instance_type"] = serving.instance_type
    if serving.instances != 1:
        extras["instance_count"] = serving.instances
    if serving.environment:
        extras["environment_variables"] = dict(serving.environment)
    return {
        "name": endpoint.name,
        "model_id": _model(deployment.model),
        "auth_mode": endpoint.auth_mode,
        "scoring_uri": None,
        "provisioning_state": None,
        "tags": dict(endpoint.tags),
        **_extras(extras),
    }


def _model(model: str) -> str:
    return model.rstrip(":") if model == UPSTREAM_MODEL else model


def _running(serving: ServingOptions) -> Shown:
    """What Azure calls request settings and probes."""
    timeout_s = serving.request_timeout_s
    requests = {
        "request_timeout_ms": None if timeout_s is None else round(timeout_s * MS_PER_S),
        "max_concurrent_requests_per_instance": serving.max_calls_per_instance,
    }
    return {
        "request_settings": {name: value for name, value in requests.items() if value is not None},
        "liveness_probe": _probe(serving.liveness),
        "readiness_probe": _probe(serving.readiness),
    }


def _probe(probe: Probe) -> Shown:
    return {
        "initial_delay": _whole(probe.initial_delay_s),
        "period": _whole(probe.period_s),
        "timeout": _whole(probe.timeout_s),
        "success_threshold": probe.success_threshold,
        "failure_threshold": probe.failure_threshold,
    }


def _whole(seconds: float) -> int | float:
    """Whole seconds without a point, as Azure has them."""
    return int(seconds) if seconds == int(seconds) else seconds


def _extras(extras: Shown) -> Shown:
    return {"zaffre": extras} if extras else {}


def _guards(endpoint: EndpointPlan) -> Shown:
    shown: Shown = {}
    if endpoint.hosts:
        shown["hosts"] = list(endpoint.hosts)
    if endpoint.limits is not None:
        shown["limits"] = _changed(endpoint.limits, Limits())
    if endpoint.content_safety is not None:
        shown["content_safety"] = endpoint.content_safety
    return shown


def _engine(deployment: DeploymentPlan) -> Shown:
    """What Azure has no field for, where it differs from what goes without saying."""
    serving = deployment.serving
    size = instance_type(serving.instance_type) if serving.instance_type else None
    implied = ServingOptions(
        threads=size.threads if size else None, memory_mib=size.memory_mib if size else None
    )
    names = (*_ENGINE_FIELDS, "loading", "idle_unload_s", "hedge_after_s")
    shown = {n: v for n, v in _changed(serving, implied).items() if n in names}
    if deployment.limits is not None:
        shown["limits"] = _changed(deployment.limits, Limits())
    if deployment.upstreams:
        shown["upstreams"] = [_changed(u, Upstream(url="")) for u in deployment.upstreams]
    return shown


def _changed(struct: Struct, usual: Struct) -> Shown:
    """The fields that differ, as plain values."""
    shown: Shown = {}
    for field in fields(type(struct)):
        value = getattr(struct, field.name)
        if value != getattr(usual, field.name):
            shown[field.name] = msgspec.to_builtins(value)
    return shown
