"""Screening: which content safety policy a call goes through."""

from zaffre.core.plan import EndpointPlan, Plan
from zaffre.core.safety import DEFAULT, OFF
from zaffre.routing.table import Route
from zaffre.safety.policies import Screens
from zaffre.safety.screen import Screen


class Screening:
    """The screens of all endpoints. `root` is the policy of calls outside endpoints."""

    def __init__(self, screens: Screens, root: str = OFF) -> None:
        """Raises `ConfigurationError` when the root's policy cannot be."""
        self._screens = screens
        self._root = root
        screens.named(root)

    def of(self, route: Route) -> Screen | None:
        """The screen that calls on `route` go through; None when there is none."""
        name = self._root if route.endpoint is None else policy_of(route.endpoint.plan)
        return self._screens.named(name)

    def check(self, plan: Plan) -> None:
        """Raises `ConfigurationError` for an endpoint whose policy cannot be."""
        for endpoint in plan.endpoints:
            self._screens.named(policy_of(endpoint))


def policy_of(endpoint: EndpointPlan) -> str:
    """The name of its policy: as on Azure, serverless endpoints have one by default."""
    if endpoint.content_safety is not None:
        return endpoint.content_safety
    return DEFAULT if endpoint.kind == "serverless" else OFF
