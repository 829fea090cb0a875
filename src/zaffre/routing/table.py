"""The table: every name a request can use, and the route from a request to a deployment.

It is never changed: a new plan makes a new table, and whoever holds a route keeps the old one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from zaffre.core.calls import OPERATIONS, Operation
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
        mine = [d for d in self.deployments.values() if permitted(self, d)]
        if len(mine) < 2:
            return mine[0] if mine else None
        shares = {name.lower(): share for name, share in self.plan.traffic.items()}
        return max(mine, key=lambda d: shares.get(d.name.lower(), 0))


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


Part = tuple[Target, Deployment]
"""A deployment as part of a target."""
Permitted = Callable[[Target, Deployment], bool]
"""Whether a caller may use a deployment as part of a target."""


def _everything(_target: Target, _deployment: Deployment) -> bool:
    return True


class _View:
    """What one caller may know of `targets`, asked where a request needs it and no further: a name
    costs the same in a large table as in a small one.
    """

    __slots__ = ("_permitted", "_targets", "_widest")

    def __init__(
        self, targets: Mapping[str, Target], widest: Sequence[Part], permitted: Permitted
    ) -> None:
        self._targets = targets
        self._widest = widest
        self._permitted = permitted

    def __iter__(self) -> Iterator[Target]:
        """In the order of their declaration."""
        return (target for target in self._targets.values() if _usable(target, self._permitted))

    def get(self, name: str) -> Target | None:
        """The target of this name, in lower case.

        To find one hidden takes as many questions as to find none: the time tells nobody which.
        """
        target = self._targets.get(name)
        if target is not None and _usable(target, self._permitted):
            return target
        asked = 0 if target is None else len(_parts(target))
        for part in self._widest[asked:]:
            self._permitted(*part)
        return None

    def only(self) -> Target | None:
        """The target that is alone here, if one is."""
        found = list(islice(self, 2))
        return found[0] if len(found) == 1 else None


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
        self._widest = max(map(_parts, self._targets.values()), key=len, default=())

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
        targets: Iterable[Target] = self._root(permitted)
        if endpoint is not None:
            found = self._in_path(endpoint, permitted)
            targets = [] if found is None else [found]
        rows: list[tuple[str, Deployment]] = []
        for target in targets:
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
        named = self._named(selector, permitted)
        target = self._unnamed(operation, permitted) if named is None else named
        if isinstance(target, Deployment):
            route = Route(target, reason="default" if named is None else "named")
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
        target = self._named(selector, permitted)
        if target is None:
            target = self._first(permitted)
        if target is None:
            raise NoModel
        if isinstance(target, Deployment):
            return target.name, target
        deployment = target.deployments.get((selector.deployment or "").lower())
        if deployment is None or not permitted(target, deployment):
            deployment = target.main_of(permitted)
        if deployment is None:
            raise NoTraffic(target.name)
        return target.name, deployment

    def _root(self, permitted: Permitted) -> _View:
        """What a request at the server's root can reach."""
        return _View(self._targets, self._widest, permitted)

    def _in_path(self, endpoint: str, permitted: Permitted) -> Target | None:
        """All that a request in `endpoint`, by its name or a host's, can reach."""
        name = self._hosts.get(endpoint.lower(), endpoint).lower()
        return _View(self._endpoints, self._widest, permitted).get(name)

    def _named(self, selector: Selector, permitted: Permitted) -> Target | None:
        """What the request names; None when it names nothing. Raises `UnknownModel`."""
        if selector.endpoint is not None:
            found = self._in_path(selector.endpoint, permitted)
            if found is None:
                raise UnknownModel(selector.endpoint)
            return found  # there, `model` says nothing (contract, 9 row 1)
        name = selector.name
        if not name:
            return None
        view = self._root(permitted)
        if selector.deployment:
            if selector.model:
                asked = view.get(selector.model.lower())
                if isinstance(asked, Endpoint) and name.lower() in asked.deployments:
                    return asked
            found = view.get(name.lower())
        else:
            found = view.get(name.lower())
            if found is None:  # one model: any `model` means it (contract, section 4.1)
                found = view.only()
        if found is None:
            raise UnknownModel(name)
        return found

    def _first(self, permitted: Permitted) -> Target | None:
        """The first default at the root, or the first of all."""
        view = self._root(permitted)
        for operation in OPERATIONS:
            default = self._defaults.get(operation)
            if default is not None and (found := view.get(default)) is not None:
                return found
        return next(iter(view), None)

    def _unnamed(self, operation: Operation, permitted: Permitted) -> Target:
        """Who answers at the root when nobody is named.

        Raises `NoModel`, or `OperationNotSupported`.
        """
        view = self._root(permitted)
        default = self._defaults.get(operation)
        if default is not None and (found := view.get(default)) is not None:
            return found
        seen: list[tuple[Target, set[Operation]]] = []
        for target in view:
            operations = _operations(target, permitted)
            if operation in operations:
                return target
            seen.append((target, operations))
        if not seen:
            raise NoModel
        if len(seen) == 1:
            return seen[0][0]
        known = {known for _, operations in seen for known in operations}
        raise OperationNotSupported(operation, None, sorted(known))


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
    mirror = None
    for name, share in endpoint.plan.mirror_traffic.items():
        if draw.mirror * 100 < share:
            mirror = endpoint.deployments.get(name.lower())
            break
    return Route(chosen, endpoint, mirror, "traffic")


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
    if permitted is _everything:
        return True  # an endpoint that has no deployment yet, too
    return any(permitted(target, deployment) for deployment in target.deployments.values())


def _parts(target: Target) -> Sequence[Part]:
    if isinstance(target, Deployment):
        return ((target, target),)
    return [(target, deployment) for deployment in target.deployments.values()]


def _operations(target: Target, permitted: Permitted) -> set[Operation]:
    if isinstance(target, Deployment):
        return set(target.operations)
    mine = [d for d in target.deployments.values() if permitted(target, d)]
    return {operation for deployment in mine for operation in deployment.operations}
