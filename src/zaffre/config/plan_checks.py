"""What a plan must be, beyond what each of its pieces can know of itself."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from zaffre.config.names import (
    ENDPOINT_NAME,
    HOST_NAME,
    ROOT_NAME,
    SERVERLESS_NAME,
    UPSTREAM_MODEL,
)
from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import OPERATIONS
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan

MAX_MIRROR_PERCENT = 50
LOCAL_DOMAIN = ".localhost"
"""Each endpoint answers on its name before this as well."""


class PlanTrouble(Struct, frozen=True):
    """What is wrong with a plan, and with which piece of it."""

    piece: Literal["endpoint", "deployment", "default"]
    key: str | tuple[str, str]
    """The endpoint's name in lower case, the deployment's key, or the operation."""
    field: tuple[str | int, ...]
    """Where in the piece, by the names in `core.plan`."""
    text: str
    """A sentence."""

    def __str__(self) -> str:
        name = self.key if isinstance(self.key, str) else "/".join(filter(None, self.key))
        return f"{self.piece} '{name}': {self.text}"


class InvalidPlan(ConfigurationError):
    """A plan that cannot be, with all that is wrong with it."""

    def __init__(self, troubles: Sequence[PlanTrouble]) -> None:
        super().__init__("\n".join(str(trouble) for trouble in troubles))
        self.troubles = tuple(troubles)


def check_plan(plan: Plan) -> None:
    """Check everything that one piece alone cannot know. Raises `InvalidPlan` with all troubles."""
    troubles = [
        *_endpoint_troubles(plan),
        *_deployment_troubles(plan),
        *_host_troubles(plan),
        *_default_troubles(plan),
    ]
    if troubles:
        raise InvalidPlan(troubles)


def _endpoint_troubles(plan: Plan) -> Iterator[PlanTrouble]:
    there = Counter(endpoint.name.lower() for endpoint in plan.endpoints)
    deployments: dict[str, list[DeploymentPlan]] = defaultdict(list)
    for deployment in plan.deployments:
        deployments[deployment.key[0]].append(deployment)
    for endpoint in plan.endpoints:
        key = endpoint.name.lower()
        if there[key] > 1:
            yield PlanTrouble("endpoint", key, ("name",), f"'{endpoint.name}' is declared twice.")
        rule = SERVERLESS_NAME if endpoint.kind == "serverless" else ENDPOINT_NAME
        if not rule.fullmatch(endpoint.name):
            text = f"'{endpoint.name}' cannot be an endpoint's name; {_rule_text(endpoint)}"
            yield PlanTrouble("endpoint", key, ("name",), text)
        own = deployments[key]
        if endpoint.kind == "serverless":
            yield from _serverless_troubles(endpoint, own)
        else:
            yield from _traffic_troubles(endpoint, own)
            yield from _mirror_troubles(endpoint, own)


def _serverless_troubles(
    endpoint: EndpointPlan, own: Sequence[DeploymentPlan]
) -> Iterator[PlanTrouble]:
    key = endpoint.name.lower()
    if [d.key for d in own] != [(key, key)]:
        text = "a serverless endpoint has exactly one deployment, under its own name."
        yield PlanTrouble("endpoint", key, ("kind",), text)
    for field, shares in (
        ("traffic", endpoint.traffic),
        ("mirror_traffic", endpoint.mirror_traffic),
    ):
        if shares:
            text = "a serverless endpoint has one model and so no traffic to share."
            yield PlanTrouble("endpoint", key, (field,), text)


def _traffic_troubles(
    endpoint: EndpointPlan, own: Sequence[DeploymentPlan]
) -> Iterator[PlanTrouble]:
    yield from _unknown_names(endpoint, "traffic", endpoint.traffic, own)
    for name, share in endpoint.traffic.items():
        if not 0 <= share <= 100:
            text = f"{share} is no percentage; use 0 to 100."
            yield PlanTrouble("endpoint", endpoint.name.lower(), ("traffic", name), text)
    total = sum(endpoint.traffic.values())
    if total not in (0, 100):
        text = f"the shares add up to {total}; they must add up to 100, or to 0 for no traffic."
        yield PlanTrouble("endpoint", endpoint.name.lower(), ("traffic",), text)


def _mirror_troubles(
    endpoint: EndpointPlan, own: Sequence[DeploymentPlan]
) -> Iterator[PlanTrouble]:
    yield from _unknown_names(endpoint, "mirror_traffic", endpoint.mirror_traffic, own)
    for name, share in endpoint.mirror_traffic.items():
        if not 0 <= share <= MAX_MIRROR_PERCENT:
            text = f"{share} is too much; at most {MAX_MIRROR_PERCENT} percent can be mirrored."
            yield PlanTrouble("endpoint", endpoint.name.lower(), ("mirror_traffic", name), text)
    if sum(share > 0 for share in endpoint.mirror_traffic.values()) > 1:
        text = "traffic can be mirrored to one deployment only."
        yield PlanTrouble("endpoint", endpoint.name.lower(), ("mirror_traffic",), text)


def _unknown_names(
    endpoint: EndpointPlan, field: str, shares: Mapping[str, int], own: Sequence[DeploymentPlan]
) -> Iterator[PlanTrouble]:
    known = {d.name.lower() for d in own}
    seen: set[str] = set()
    for name in shares:
        problem = "is here twice" if name.lower() in seen else None
        if name.lower() not in known:
            problem = f"is no deployment of '{endpoint.name}'"
        if problem is not None:
            text = f"'{name}' {problem}."
            yield PlanTrouble("endpoint", endpoint.name.lower(), (field, name), text)
        seen.add(name.lower())


def _deployment_troubles(plan: Plan) -> Iterator[PlanTrouble]:
    there = Counter(deployment.key for deployment in plan.deployments)
    endpoints = {endpoint.name.lower(): endpoint for endpoint in plan.endpoints}
    for deployment in plan.deployments:
        key = deployment.key
        for field, text in _name_troubles(deployment, endpoints):
            yield PlanTrouble("deployment", key, (field,), text)
        if there[key] > 1:
            text = f"'{deployment.name}' is declared twice."
            yield PlanTrouble("deployment", key, ("name",), text)
        if (deployment.model == UPSTREAM_MODEL) != bool(deployment.upstreams):
            text = "it is `upstream`, but there are no upstreams to ask."
            if deployment.upstreams:
                text = "there are upstreams, so the model must be `upstream`."
            yield PlanTrouble("deployment", key, ("model",), text)


def _name_troubles(
    deployment: DeploymentPlan, endpoints: Mapping[str, EndpointPlan]
) -> Iterator[tuple[str, str]]:
    name = deployment.name
    if deployment.endpoint is None:
        if not ROOT_NAME.fullmatch(name):
            yield "name", f"'{name}' cannot be a name; use letters, digits, . _ -"
        if name.lower() in endpoints:
            yield "name", f"an endpoint is called '{name}' too, and both are called `model`."
        return
    owner = endpoints.get(deployment.endpoint.lower())
    if owner is None:
        yield "endpoint", f"there is no endpoint '{deployment.endpoint}'."
    elif owner.kind == "managed" and not ENDPOINT_NAME.fullmatch(name):
        yield "name", f"'{name}' cannot be a deployment's name; {_rule_text(owner)}"


def _host_troubles(plan: Plan) -> Iterator[PlanTrouble]:
    owners = {f"{e.name.lower()}{LOCAL_DOMAIN}": e.name.lower() for e in plan.endpoints}
    for endpoint in plan.endpoints:
        key = endpoint.name.lower()
        for number, host in enumerate(endpoint.hosts):
            if not HOST_NAME.fullmatch(host):
                text = f"'{host}' is no host name; write it without port and scheme."
                yield PlanTrouble("endpoint", key, ("hosts", number), text)
            elif owners.setdefault(host.lower(), key) != key:
                text = f"'{host}' belongs to endpoint '{owners[host.lower()]}' already."
                yield PlanTrouble("endpoint", key, ("hosts", number), text)


def _default_troubles(plan: Plan) -> Iterator[PlanTrouble]:
    names = {endpoint.name.lower() for endpoint in plan.endpoints}
    names |= {d.name.lower() for d in plan.deployments if d.endpoint is None}
    for operation, name in plan.defaults.items():
        if operation not in OPERATIONS:
            text = f"'{operation}' is no operation; use {', '.join(OPERATIONS)}."
            yield PlanTrouble("default", operation, (), text)
        elif name.lower() not in names:
            text = f"no deployment is called '{name}'."
            yield PlanTrouble("default", operation, (), text)


def _rule_text(endpoint: EndpointPlan) -> str:
    characters = "letters, digits and hyphens, a letter first and no hyphen last."
    return f"use {'1 to 52' if endpoint.kind == 'serverless' else '3 to 32'} {characters}"
