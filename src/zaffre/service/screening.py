"""Screening: which content safety policy a call goes through, and whom its filters ask."""

from collections.abc import Callable
from contextlib import aclosing

from zaffre.core.calls import ChatCall, EmbedCall, Operation
from zaffre.core.deltas import Deltas, Embeddings
from zaffre.core.plan import EndpointPlan, Plan
from zaffre.core.safety import DEFAULT, OFF
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Route
from zaffre.safety.policies import Screens
from zaffre.safety.screen import Screen

Find = Callable[[str, Operation], Deployment]
"""The deployment of a name that does an operation; raises `ZaffreError` when there is none."""


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


async def ask_embedding(deployment: Deployment, call: EmbedCall) -> Embeddings:
    """The vectors of `call`, for a filter: no account, no screen."""
    with deployment.admitted():
        replica, client = await deployment.ready_replica()
        with replica.borrowed():
            return await client.embed(call)


async def ask_judge(deployment: Deployment, call: ChatCall) -> Deltas:
    """The answer to `call`, for a filter: no account, no screen."""
    with deployment.admitted():
        replica, client = await deployment.ready_replica()
        with replica.borrowed():
            async with aclosing(client.chat(call, stream=False)) as deltas:
                async for delta in deltas:
                    yield delta
