"""Endpoints in the table: where a call goes by path, host, header, traffic and permission."""

import pytest

from zaffre.core.cards import ModelCard
from zaffre.core.errors import NoTraffic, PermissionDenied, UnknownModel
from zaffre.core.plan import DeploymentPlan, EndpointPlan
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Draw, Endpoint, Selector, Table, Target

FIRST, LAST = Draw(0, 0), Draw(0.999, 0.999)


def deployment(name: str, endpoint: str | None = None) -> Deployment:
    card = ModelCard(name=f"{name}-model", format="echo", operations=("chat",))
    plan = DeploymentPlan(name=name, endpoint=endpoint, model="echo")
    return Deployment(plan, card, "echo", max_calls=1, created=0)


BLUE, GREEN = deployment("blue", "shop"), deployment("green", "shop")
PLAIN = deployment("plain")
SHOP = Endpoint(
    EndpointPlan(
        name="shop",
        traffic={"blue": 90, "green": 10},
        mirror_traffic={"green": 20},
        hosts=("shop.example",),
    ),
    {"blue": BLUE, "green": GREEN},
)
ONLY = deployment("only", "phi")
PHI = Endpoint(EndpointPlan(name="phi", kind="serverless"), {"only": ONLY})
QUIET = Endpoint(
    EndpointPlan(name="quiet", traffic={"blue": 0}), {"blue": deployment("blue", "quiet")}
)
TABLE = Table([PLAIN], [SHOP, PHI, QUIET])


def test_traffic_decides_inside_a_managed_endpoint():
    route = TABLE.resolve(Selector(endpoint="Shop", model="gpt-4"), "chat", FIRST)
    assert (route.deployment, route.endpoint, route.reason) == (BLUE, SHOP, "traffic")
    assert TABLE.resolve(Selector(endpoint="shop"), "chat", LAST).deployment is GREEN


def test_an_endpoint_has_a_name_at_the_root_too():
    assert TABLE.resolve(Selector(model="SHOP"), "chat", FIRST).deployment is BLUE
    assert TABLE.resolve(Selector(deployment="shop"), "chat", LAST).deployment is GREEN
    named = Selector(deployment="green", model="shop")
    assert TABLE.resolve(named, "chat", FIRST).deployment is GREEN


def test_a_named_deployment_is_reached_without_a_share_and_without_a_mirror():
    route = TABLE.resolve(Selector(endpoint="shop", deployment="GREEN"), "chat", FIRST)
    assert (route.deployment, route.reason, route.mirror) == (GREEN, "named", None)
    quiet = TABLE.resolve(Selector(endpoint="quiet", deployment="blue"), "chat", FIRST)
    assert quiet.deployment.plan.endpoint == "quiet"


def test_the_mirror_sees_its_share_of_what_traffic_decides():
    route = TABLE.resolve(Selector(endpoint="shop"), "chat", Draw(0, 0.199))
    assert (route.deployment, route.mirror) == (BLUE, GREEN)
    assert TABLE.resolve(Selector(endpoint="shop"), "chat", Draw(0, 0.2)).mirror is None


def test_a_session_stays_with_one_deployment():
    selector = Selector(endpoint="shop", session="one visitor")
    seen = {TABLE.resolve(selector, "chat", draw).deployment for draw in (FIRST, LAST)}
    assert len(seen) == 1


def test_a_serverless_endpoint_is_its_model_whatever_the_body_says():
    route = TABLE.resolve(Selector(endpoint="phi", model="plain"), "chat", LAST)
    assert (route.deployment, route.reason) == (ONLY, "only")
    assert TABLE.describe(Selector(endpoint="phi", model="plain")) == ("phi", ONLY)


def test_no_share_at_all_is_not_found():
    with pytest.raises(NoTraffic, match="'quiet' was not found to have a deployment"):
        TABLE.resolve(Selector(endpoint="quiet"), "chat", FIRST)


@pytest.mark.parametrize(
    "selector",
    [
        Selector(endpoint="nowhere"),
        Selector(endpoint="shop", deployment="plain"),
        Selector(endpoint="phi", deployment="blue"),
        Selector(deployment="blue"),
        Selector(model="blue"),
    ],
    ids=str,
)
def test_what_is_not_there_is_unknown(selector: Selector):
    with pytest.raises(UnknownModel):
        TABLE.resolve(selector, "chat", FIRST)


def test_hosts_name_endpoints():
    assert TABLE.endpoint_of_host("SHOP.example") == "shop"
    assert TABLE.endpoint_of_host("phi.localhost") == "phi"
    assert TABLE.endpoint_of_host("localhost") is None


def test_every_name_is_listed_once():
    assert TABLE.listed()[:3] == [("plain", PLAIN), ("shop", BLUE), ("phi", ONLY)]
    assert TABLE.listed("shop") == [("shop", BLUE)]


def test_what_a_caller_may_not_use_is_not_there():
    def only_plain(_target: Target, deployment: Deployment) -> bool:
        return deployment is PLAIN

    assert TABLE.listed(None, only_plain) == [("plain", PLAIN)]
    # One model is left, so any name of `model` means it, and none of a deployment does.
    assert TABLE.resolve(Selector(model="shop"), "chat", FIRST, only_plain).deployment is PLAIN
    for selector in (Selector(deployment="shop"), Selector(endpoint="shop")):
        with pytest.raises(UnknownModel):
            TABLE.resolve(selector, "chat", FIRST, only_plain)


def test_traffic_does_not_lead_where_a_caller_may_not_go():
    def not_green(_target: Target, deployment: Deployment) -> bool:
        return deployment is not GREEN

    assert TABLE.resolve(Selector(endpoint="shop"), "chat", FIRST, not_green).deployment is BLUE
    with pytest.raises(PermissionDenied):
        TABLE.resolve(Selector(endpoint="shop"), "chat", LAST, not_green)
    with pytest.raises(UnknownModel):
        TABLE.resolve(Selector(endpoint="shop", deployment="green"), "chat", FIRST, not_green)
