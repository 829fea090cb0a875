"""Changes of the plan: pure functions from one whole plan to the next."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from zaffre.config.plan_checks import check_plan
from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import Operation
from zaffre.core.errors import Conflict, NotFound
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan

_SHARE = re.compile(r"(?P<name>[^=\s]+)=(?P<percent>\d{1,3})%?")
_Piece = TypeVar("_Piece", EndpointPlan, DeploymentPlan)

Kept = Literal["traffic", "mirror_traffic"]


class PlanChange(Struct, frozen=True, kw_only=True):
    """Pieces to create, or to put in the place of those of the same name."""

    endpoints: tuple[EndpointPlan, ...] = ()
    deployments: tuple[DeploymentPlan, ...] = ()
    defaults: dict[Operation, str] = {}
    unsaid: dict[str, frozenset[Kept]] = {}
    """Endpoint, in lower case -> what was not said about it and stays as it is."""


def merge(plan: Plan, change: PlanChange) -> Plan:
    """The plan with all pieces of `change` in it, unchecked; `check_plan` says what is wrong."""
    before = {endpoint.name.lower(): endpoint for endpoint in plan.endpoints}
    endpoints = [_with_unsaid(e, before, change.unsaid) for e in change.endpoints]
    merged = replace(
        plan,
        endpoints=_put(plan.endpoints, endpoints, lambda e: e.name.lower()),
        deployments=_put(plan.deployments, change.deployments, lambda d: d.key),
        defaults=plan.defaults | change.defaults,
    )
    return _as_declared(merged)


def redeclare(current: Plan, before: Plan, now: PlanChange) -> Plan:
    """The plan after files that said `before` say `now`; unchecked.

    What the files still say as before stays as it is in `current`, so that a change made while the
    server ran outlives a restart. What they say anew or differently wins; what they no longer say
    goes.
    """
    gone = _names(before.endpoints) - _names(now.endpoints)
    gone_keys = {d.key for d in before.deployments} - {d.key for d in now.deployments}
    kept = Plan(
        endpoints=tuple(e for e in current.endpoints if e.name.lower() not in gone),
        deployments=tuple(
            d for d in current.deployments if d.key not in gone_keys and d.key[0] not in gone
        ),
        defaults={
            operation: name
            for operation, name in current.defaults.items()
            if operation in now.defaults or before.defaults.get(operation) != name
        },
    )
    said = merge(before, now).endpoints
    differing = {e.name.lower() for e in said if e not in before.endpoints}
    new = replace(
        now,
        endpoints=tuple(e for e in now.endpoints if e.name.lower() in differing),
        deployments=tuple(d for d in now.deployments if d not in before.deployments),
        defaults={o: n for o, n in now.defaults.items() if before.defaults.get(o) != n},
    )
    return _without_empty_shares(merge(kept, new))


def set_traffic(
    plan: Plan,
    endpoint: str,
    traffic: Mapping[str, int] | None = None,
    mirror: Mapping[str, int] | None = None,
) -> Plan:
    """The plan with other shares; None leaves what is there.

    As on Azure, a deployment that is not named gets nothing. Raises `NotFound` and `InvalidPlan`.
    """
    old = find_endpoint(plan, endpoint)
    new = replace(
        old,
        traffic=dict(old.traffic if traffic is None else traffic),
        mirror_traffic=dict(old.mirror_traffic if mirror is None else mirror),
    )
    changed = merge(plan, PlanChange(endpoints=(new,)))
    check_plan(changed)
    return changed


def all_traffic_to(plan: Plan, endpoint: str, deployment: str) -> Plan:
    """The plan with everything of an endpoint going to one deployment.

    Raises `NotFound` and `InvalidPlan`.
    """
    chosen = find_deployment(plan, endpoint, deployment).name
    return set_traffic(plan, endpoint, {chosen: 100})


def without_endpoint(plan: Plan, name: str) -> Plan:
    """The plan without an endpoint and its deployments. Raises `NotFound` and `Conflict`."""
    endpoint = find_endpoint(plan, name)
    _check_no_default(plan, endpoint.name)
    return replace(
        plan,
        endpoints=tuple(e for e in plan.endpoints if e is not endpoint),
        deployments=tuple(d for d in plan.deployments if d.key[0] != endpoint.name.lower()),
    )


def without_deployment(plan: Plan, endpoint: str | None, name: str) -> Plan:
    """The plan without a deployment that gets no traffic. Raises `NotFound` and `Conflict`."""
    deployment = find_deployment(plan, endpoint, name)
    left = tuple(d for d in plan.deployments if d is not deployment)
    if deployment.endpoint is None:
        _check_no_default(plan, deployment.name)
        return replace(plan, deployments=left)
    owner = find_endpoint(plan, deployment.endpoint)
    if owner.kind == "serverless":
        raise Conflict(
            f"'{owner.name}' is a serverless endpoint and goes with its model:"
            f" zaffre serverless-endpoint delete -n {owner.name}"
        )
    for what, shares in (("traffic", owner.traffic), ("mirror traffic", owner.mirror_traffic)):
        share = _folded(shares).get(deployment.name.lower(), 0)
        if share:
            option = what.replace(" ", "-")
            raise Conflict(
                f"'{deployment.name}' still gets {share} % of the {what} of '{owner.name}'. First:"
                f' zaffre online-endpoint update -n {owner.name} --{option} "{deployment.name}=0 …"'
            )
    rest = replace(
        owner,
        traffic=_without(owner.traffic, deployment.name),
        mirror_traffic=_without(owner.mirror_traffic, deployment.name),
    )
    return merge(replace(plan, deployments=left), PlanChange(endpoints=(rest,)))


def find_endpoint(plan: Plan, name: str) -> EndpointPlan:
    """The endpoint of this name, in any case. Raises `NotFound`."""
    for endpoint in plan.endpoints:
        if endpoint.name.lower() == name.lower():
            return endpoint
    raise NotFound(f"Endpoint '{name}' was not found.")


def find_deployment(plan: Plan, endpoint: str | None, name: str) -> DeploymentPlan:
    """The deployment of an endpoint, or of the root, in any case. Raises `NotFound`."""
    key = (endpoint or "").lower(), name.lower()
    for deployment in plan.deployments:
        if deployment.key == key:
            return deployment
    where = f" of endpoint '{endpoint}'" if endpoint else ""
    raise NotFound(f"Deployment '{name}'{where} was not found.")


def read_shares(text: str) -> dict[str, int]:
    """`blue=90 green=10` as Azure's command line takes it. Raises `ConfigurationError`."""
    shares: dict[str, int] = {}
    for part in text.replace(",", " ").split():
        found = _SHARE.fullmatch(part)
        if found is None or found["name"] in shares:
            raise ConfigurationError(f"'{text}' must be like: blue=90 green=10")
        shares[found["name"]] = int(found["percent"])
    return shares


def _check_no_default(plan: Plan, name: str) -> None:
    for operation, default in plan.defaults.items():
        if default.lower() == name.lower():
            raise Conflict(f"'{name}' is the default for {operation}. Choose another one first.")


def _names(pieces: Iterable[EndpointPlan | DeploymentPlan]) -> set[str]:
    return {piece.name.lower() for piece in pieces}


def _folded(shares: Mapping[str, int]) -> dict[str, int]:
    return {name.lower(): share for name, share in shares.items()}


def _without(shares: Mapping[str, int], name: str) -> dict[str, int]:
    return {key: share for key, share in shares.items() if key.lower() != name.lower()}


def _put(
    there: Sequence[_Piece], new: Iterable[_Piece], key: Callable[[_Piece], Hashable]
) -> tuple[_Piece, ...]:
    """New pieces in the places of old ones with their key, the others at the end."""
    pieces = {key(piece): piece for piece in there}
    return tuple((pieces | {key(piece): piece for piece in new}).values())


def _as_declared(plan: Plan) -> Plan:
    """The plan with all names spelled as the pieces spell them that they name."""
    endpoints = {e.name.lower(): e.name for e in plan.endpoints}
    deployments = {d.key: d.name for d in plan.deployments}

    def spelled(endpoint: EndpointPlan, shares: Mapping[str, int]) -> dict[str, int]:
        key = endpoint.name.lower()
        names = {name: deployments.get((key, name.lower()), name) for name in shares}
        # Two spellings of one name stay two, for the check to see.
        unique = len(set(names.values())) == len(names)
        return {names[n]: share for n, share in shares.items()} if unique else dict(shares)

    return replace(
        plan,
        endpoints=tuple(
            replace(e, traffic=spelled(e, e.traffic), mirror_traffic=spelled(e, e.mirror_traffic))
            for e in plan.endpoints
        ),
        deployments=tuple(
            replace(d, endpoint=endpoints.get((d.endpoint or "").lower(), d.endpoint))
            for d in plan.deployments
        ),
    )


def _with_unsaid(
    new: EndpointPlan, before: Mapping[str, EndpointPlan], unsaid: Mapping[str, frozenset[Kept]]
) -> EndpointPlan:
    old = before.get(new.name.lower())
    kept = unsaid.get(new.name.lower(), frozenset())
    if old is None or not kept:
        return new
    return replace(
        new,
        traffic=old.traffic if "traffic" in kept else new.traffic,
        mirror_traffic=old.mirror_traffic if "mirror_traffic" in kept else new.mirror_traffic,
    )


def _without_empty_shares(plan: Plan) -> Plan:
    """The plan without shares of 0 for deployments that have gone."""
    there = {deployment.key for deployment in plan.deployments}

    def live(endpoint: EndpointPlan, shares: Mapping[str, int]) -> dict[str, int]:
        key = endpoint.name.lower()
        return {n: share for n, share in shares.items() if share or (key, n.lower()) in there}

    return replace(
        plan,
        endpoints=tuple(
            replace(e, traffic=live(e, e.traffic), mirror_traffic=live(e, e.mirror_traffic))
            for e in plan.endpoints
        ),
    )
