"""Checks of a whole plan: everything that is wrong, each with its piece and field."""

import pytest
from msgspec.structs import replace

from zaffre.config.plan_checks import InvalidPlan, check_plan
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan, Upstream


def endpoint(name: str = "shop", **fields: object) -> EndpointPlan:
    return EndpointPlan(name=name, **fields)  # type: ignore[arg-type]


def deployment(name: str = "blue", at: str | None = "shop", **fields: object) -> DeploymentPlan:
    return replace(DeploymentPlan(name=name, endpoint=at, model="echo"), **fields)


def found(*pieces: EndpointPlan | DeploymentPlan, **defaults: str) -> list[str]:
    plan = Plan(
        endpoints=tuple(piece for piece in pieces if isinstance(piece, EndpointPlan)),
        deployments=tuple(piece for piece in pieces if isinstance(piece, DeploymentPlan)),
        defaults=defaults,  # type: ignore[arg-type]
    )
    try:
        check_plan(plan)
    except InvalidPlan as invalid:
        return [f"{'.'.join(map(str, t.field))}: {t.text}" for t in invalid.troubles]
    return []


@pytest.mark.parametrize("name", ["abc", "A-1", "a" * 32, "a--b", "My-Endpoint-2"])
def test_names_that_azure_takes_are_taken(name: str):
    """Given a name by Azure's rule, when it is checked, then nothing is wrong."""
    assert not found(endpoint(name), deployment(name, name))


@pytest.mark.parametrize(
    "name", ["ab", "a" * 33, "1ab", "-ab", "ab-", "a_b", "a.b", "äbc", "a b", ""]
)
def test_names_that_azure_refuses_are_refused(name: str):
    """Given a name outside Azure's rule, when it is checked, then endpoint and deployment fail."""
    assert found(endpoint(name))[0].startswith(f"name: '{name}' cannot be an endpoint's name")
    assert found(endpoint(), deployment(name))[0].startswith(f"name: '{name}' cannot be a deploy")


def test_serverless_names_may_be_longer():
    """Given Azure's rule for serverless endpoints, when names are checked, then up to 52."""
    for name, good in [("a", True), ("a" * 52, True), ("a" * 53, False), ("a-", False)]:
        troubles = found(endpoint(name, kind="serverless"), deployment(name, name))
        assert (not troubles) == good


@pytest.mark.parametrize("name", ["a", "1", "phi-3.5", "a_b", "a" * 128])
def test_names_at_the_root_are_zaffres(name: str):
    """Given names of models as people write them, when they are at the root, then they are fine."""
    assert not found(deployment(name, None))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((endpoint(), endpoint("SHOP")), "name: 'shop' is declared twice."),
        ((endpoint(), deployment(), deployment("BLUE")), "name: 'blue' is declared twice."),
        ((deployment(at=None), deployment("Blue", None)), "name: 'blue' is declared twice."),
        ((deployment(),), "endpoint: there is no endpoint 'shop'."),
        ((deployment("-", None),), "name: '-' cannot be a name"),
        ((endpoint(), deployment("Shop", None)), "name: an endpoint is called 'Shop' too"),
        ((endpoint(traffic={"blue": 100}),), "traffic.blue: 'blue' is no deployment of 'shop'."),
        ((endpoint(traffic={"blue": 99}), deployment()), "traffic: the shares add up to 99"),
        ((endpoint(traffic={"blue": 101}), deployment()), "traffic.blue: 101 is no percentage"),
        (
            (endpoint(mirror_traffic={"blue": 51}), deployment()),
            "mirror_traffic.blue: 51 is too much; at most 50",
        ),
        (
            (endpoint(mirror_traffic={"blue": 1, "red": 1}), deployment(), deployment("red")),
            "mirror_traffic: traffic can be mirrored to one deployment only.",
        ),
        ((endpoint(kind="serverless"),), "kind: a serverless endpoint has exactly one"),
        ((endpoint(kind="serverless"), deployment()), "kind: a serverless endpoint has exactly"),
        (
            (endpoint(kind="serverless", traffic={"shop": 100}), deployment("shop")),
            "traffic: a serverless endpoint has one model",
        ),
        ((deployment(at=None, model="upstream:"),), "model: it is `upstream`, but there are no"),
        (
            (deployment(at=None, upstreams=(Upstream(url="http://a"),)),),
            "model: there are upstreams",
        ),
        ((endpoint(hosts=("http://a",)),), "hosts.0: 'http://a' is no host name"),
        ((endpoint(hosts=("a.b:80",)),), "hosts.0: 'a.b:80' is no host name"),
        (
            (endpoint(hosts=("a.b",)), endpoint("two", hosts=("x.y", "A.B"))),
            "hosts.1: 'A.B' belongs to endpoint 'shop' already.",
        ),
        (
            (endpoint(), endpoint("two", hosts=("shop.localhost",))),
            "hosts.0: 'shop.localhost' belongs to endpoint 'shop' already.",
        ),
    ],
)
def test_what_cannot_be_is_told(pieces: tuple[EndpointPlan | DeploymentPlan, ...], expected: str):
    """Given pieces that do not fit, when the plan is checked, then field and cause."""
    assert any(trouble.startswith(expected) for trouble in found(*pieces))


def test_traffic_of_nothing_is_allowed():
    """Given an endpoint before its first deployment gets traffic, when checked, then it is fine."""
    assert not found(endpoint(traffic={"blue": 0}, mirror_traffic={"blue": 0}), deployment())
    two = {"blue": 50, "red": 0}
    assert not found(endpoint(mirror_traffic=two), deployment(), deployment("red"))


def test_defaults_name_endpoints_or_the_root():
    """Given defaults, when they are checked, then they name what can be called `model`."""
    there = endpoint(), deployment(), deployment("root", None)
    assert not found(*there, chat="SHOP", embed="Root")
    assert found(*there, chat="blue") == [": no deployment is called 'blue'."]
    assert found(*there, talk="shop")[0].startswith(": 'talk' is no operation; use chat, ")


def test_all_troubles_are_told():
    """Given several troubles, when the plan is checked, then each names its piece."""
    plan = Plan(endpoints=(endpoint("x"),), deployments=(deployment("-", None),))
    with pytest.raises(InvalidPlan) as caught:
        check_plan(plan)
    first, second = caught.value.message.splitlines()
    assert first.startswith("endpoint 'x': 'x' cannot be")
    assert second.startswith("deployment '-': '-' cannot be")
