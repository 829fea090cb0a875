"""The table: every name a request can use, and the route from a request to a deployment.

It is never changed: a new plan makes a new table, and whoever holds a route keeps the old one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from zaffre.core.calls import Operation
from zaffre.core.errors import (
    NoModel,
    NoTraffic,
    OperationNotSupported,
    PermissionDenied,
    UnknownModel,
)
from zaffre.core.plan import EndpointPlan, Plan
from zaffre.routing.deployments import Deployment
from zaffre.routing.traffic import pick, session_point


class Selector(Struct, frozen=True):
    """What a request says about the model it wants."""

    deployment: str | None = None
    """A deployment that must exist: in the path, or in the header `azureml-model-deployment`."""
    model: str | None = None
    """The body's `model`, or `/info?model=`."""
    mesh_model: str | None = None
    """Header `x-ms-model-mesh-model-name`."""
    endpoint: str | None = None
    """The endpoint in the path, or the host name of one; nothing outside it is reachable then."""
    session: str | None = None
    """Requests of one session stay with one deployment while shares do not change."""

    @property
    def name(self) -> str | None:
        """The name asked for, if any; the first that is there counts."""
        return self.deployment or self.model or self.mesh_model


class Endpoint(Struct, frozen=True):
    """A public name and the deployments behind it, by name in lower case."""

    plan: EndpointPlan
    deployments: dict[str, Deployment]

    @property
    def name(self) -> str:
        """Its name, as declared."""
        return self.plan.name

    @property
    def main(self) -> Deployment | None:
        """The deployment that gets most; without traffic, the first."""
        return self.main_of(_everything)

    def main_of(self, permitted: "Permitted") -> Deployment | None:
        """As `main`, of those that a caller may use."""
        shares = {name.lower(): share for name, share in self.plan.traffic.items()}
        mine = [d for d in self.deployments.values() if permitted(self, d)]
        return max(mine, key=lambda d: shares.get(d.name.lower(), 0), default=None)


Target = Deployment | Endpoint


class Route(Struct, frozen=True):
    """Who answers, and why."""

    deployment: Deployment
    endpoint: Endpoint | None = None
    mirror: Deployment | None = None
    """Gets a copy of the call; its answer is thrown away."""
    reason: str = "named"
    """`named`, `default`, `traffic` or `only`."""


class Draw(Struct, frozen=True):
    """Two points in [0, 1): whose turn it is, and whether the mirror sees it."""

    traffic: float
    mirror: float


Permitted = Callable[[Target, Deployment], bool]
"""Whether a caller may use a deployment as part of a target."""


def _everything(_target: Target, _deployment: Deployment) -> bool:
    return True


class Table:
    """Root deployments and endpoints. Names are not case-sensitive (contract, section 9 row 3)."""

    def __init__(
        self,
        deployments: Sequence[Deployment] = (),
        endpoints: Sequence[Endpoint] = (),
        defaults: Mapping[Operation, str] | None = None,
    ) -> None:
        self._endpoints = {endpoint.name.lower(): endpoint for endpoint in endpoints}
        self._targets: dict[str, Target] = {d.name.lower(): d for d in deployments}
        self._targets |= self._endpoints
        self._defaults = {op: name.lower() for op, name in (defaults or {}).items()}
        self._hosts = {
            host.lower(): endpoint.name
            for endpoint in endpoints
            for host in (f"{endpoint.name}.localhost", *endpoint.plan.hosts)
        }

    def deployments(self) -> Iterator[Deployment]:
        """All deployments, in the order of their declaration."""
        for target in self._targets.values():
            if isinstance(target, Deployment):
                yield target
            else:
                yield from target.deployments.values()

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint of this name."""
        return self._endpoints.get(name.lower())

    def endpoint_of_host(self, host: str) -> str | None:
        """The endpoint that alone answers on a host name (without its port)."""
        return self._hosts.get(host.lower())

    def listed(
        self, endpoint: str | None = None, permitted: Permitted = _everything
    ) -> list[tuple[str, Deployment]]:
        """The names that a caller can use as `model`, with the deployment that tells about each."""
        rows: list[tuple[str, Deployment]] = []
        for target in self._visible(endpoint, permitted).values():
            main = target if isinstance(target, Deployment) else target.main_of(permitted)
            if main is not None:
                rows.append((target.name, main))
        return rows

    def resolve(
        self,
        selector: Selector,
        operation: Operation,
        draw: Draw,
        permitted: Permitted = _everything,
    ) -> Route:
        """The route of a request for `operation`.

        Raises `UnknownModel`, `NoModel`, `NoTraffic`, or `OperationNotSupported` when none here can
        do it. What the caller may not use is as if it were not there; where traffic leads to such a
        deployment, it raises `PermissionDenied`.
        """
        visible = self._visible(selector.endpoint, permitted)
        target, named = self._target(selector, operation, visible, permitted)
        if isinstance(target, Deployment):
            route = Route(target, reason="named" if named else "default")
        else:
            route = _within(target, selector, draw, permitted)
            if not permitted(target, route.deployment):  # the traffic's choice, not the caller's
                raise PermissionDenied(f"Principal does not have access to '{target.name}'.")
        deployment = route.deployment
        if operation not in deployment.operations:
            raise OperationNotSupported(operation, deployment.name, sorted(deployment.operations))
        if route.mirror is not None and operation not in route.mirror.operations:
            return Route(deployment, route.endpoint, None, route.reason)
        return route

    def describe(
        self, selector: Selector, permitted: Permitted = _everything
    ) -> tuple[str, Deployment]:
        """The name and deployment that `/info` tells about. Raises `UnknownModel` or `NoModel`."""
        visible = self._visible(selector.endpoint, permitted)
        target = self._named(selector, visible)
        if target is None:
            wanted = [self._defaults.get(op) for op in ("chat", "complete", "embed")]
            wanted.append(self._defaults.get("embed_images"))
            target = next((visible[name] for name in wanted if name in visible), None)
        if target is None:
            if not visible:
                raise NoModel
            target = next(iter(visible.values()))
        if isinstance(target, Deployment):
            return target.name, target
        found = target.deployments.get((selector.deployment or "").lower())
        if found is None or not permitted(target, found):
            found = target.main_of(permitted)
        if found is None:
            raise NoTraffic(target.name)
        return target.name, found

    def _visible(self, endpoint: str | None, permitted: Permitted) -> dict[str, Target]:
        """What a request in `endpoint`, or at the root, can reach."""
        targets = self._targets
        if endpoint is not None:
            name = self._hosts.get(endpoint.lower(), endpoint)
            found = self._endpoints.get(name.lower())
            targets = {endpoint.lower(): found} if found is not None else {}
        if permitted is _everything:
            return targets
        return {name: target for name, target in targets.items() if _usable(target, permitted)}

    def _target(
        self,
        selector: Selector,
        operation: Operation,
        visible: dict[str, Target],
        permitted: Permitted,
    ) -> tuple[Target, bool]:
        target = self._named(selector, visible)
        if target is not None:
            return target, True
        default = self._defaults.get(operation)
        if default in visible:
            return visible[default], False
        does = [(target, _operations(target, permitted)) for target in visible.values()]
        able = [target for target, operations in does if operation in operations]
        if able:
            return able[0], False
        if len(visible) == 1:
            return next(iter(visible.values())), False
        if not visible:
            raise NoModel
        known = {known for _, operations in does for known in operations}
        raise OperationNotSupported(operation, None, sorted(known))

    def _named(self, selector: Selector, visible: dict[str, Target]) -> Target | None:
        """What the request names; None when it names nothing."""
        if selector.endpoint is not None:
            if not visible:
                raise UnknownModel(selector.endpoint)
            return next(iter(visible.values()))  # there, `model` says nothing (contract, 9 row 1)
        name = selector.name
        if not name:
            return None
        asked = visible.get((selector.model or "").lower())
        if not selector.deployment:
            found = visible.get(name.lower())
            if found is None and len(visible) == 1:
                # One model: any `model` means it (contract, section 4.1).
                return next(iter(visible.values()))
        elif isinstance(asked, Endpoint) and selector.deployment.lower() in asked.deployments:
            return asked
        else:
            found = visible.get(selector.deployment.lower())
        if found is None:
            raise UnknownModel(name)
        return found


def _within(endpoint: Endpoint, selector: Selector, draw: Draw, permitted: Permitted) -> Route:
    """The route inside an endpoint: the deployment it names, or the traffic's."""
    wanted = selector.deployment
    if wanted and wanted.lower() != endpoint.name.lower():
        named = endpoint.deployments.get(wanted.lower())
        if named is None or not permitted(endpoint, named):
            raise UnknownModel(wanted)
        return Route(named, endpoint, reason="named")
    if endpoint.plan.kind == "serverless":
        only = endpoint.main
        if only is None:
            raise NoTraffic(endpoint.name)
        return Route(only, endpoint, reason="only")
    point = draw.traffic if selector.session is None else session_point(selector.session)
    chosen = endpoint.deployments.get((pick(endpoint.plan.traffic, point) or "").lower())
    if chosen is None:
        raise NoTraffic(endpoint.name)
    mirror = next(
        (name for name, share in endpoint.plan.mirror_traffic.items() if draw.mirror * 100 < share),
        "",
    )
    return Route(chosen, endpoint, endpoint.deployments.get(mirror.lower()), "traffic")


def make_table(plan: Plan, deployments: Mapping[tuple[str, str], Deployment]) -> Table:
    """The table of `plan`, all of whose deployments are there, by `DeploymentPlan.key`."""
    endpoints = [
        Endpoint(
            endpoint,
            {name: d for (owner, name), d in deployments.items() if owner == endpoint.name.lower()},
        )
        for endpoint in plan.endpoints
    ]
    root = [deployments[d.key] for d in plan.deployments if d.endpoint is None]
    return Table(root, endpoints, plan.defaults)


def _usable(target: Target, permitted: Permitted) -> bool:
    if isinstance(target, Deployment):
        return permitted(target, target)
    return any(permitted(target, deployment) for deployment in target.deployments.values())


def _operations(target: Target, permitted: Permitted) -> set[Operation]:
    if isinstance(target, Deployment):
        return set(target.operations)
    mine = [d for d in target.deployments.values() if permitted(target, d)]
    return {operation for deployment in mine for operation in deployment.operations}
