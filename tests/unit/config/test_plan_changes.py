"""Changes of the plan: pure, whole, and refused where they would break something."""

import pytest
from any_plans import plans
from hypothesis import given, settings
from msgspec.structs import replace

from zaffre.config.plan_changes import (
    PlanChange,
    all_traffic_to,
    find_deployment,
    merge,
    read_shares,
    redeclare,
    set_traffic,
    without_deployment,
    without_endpoint,
)
from zaffre.config.plan_checks import InvalidPlan, check_plan
from zaffre.config.settings import ConfigurationError
from zaffre.core.errors import Conflict, NotFound
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Plan

FEW = settings(max_examples=60, deadline=None)
BLUE = DeploymentPlan(name="blue", endpoint="shop", model="echo")
GREEN = DeploymentPlan(name="green", endpoint="shop", model="echo")
ROOT = DeploymentPlan(name="root.v1", model="echo")
SHOP = EndpointPlan(name="shop", traffic={"blue": 100})
SERVERLESS = EndpointPlan(name="one", kind="serverless")
ONE = DeploymentPlan(name="one", endpoint="one", model="echo")
PLAN = Plan(
    endpoints=(SHOP, SERVERLESS),
    deployments=(BLUE, GREEN, ROOT, ONE),
    defaults={"chat": "Root.V1", "embed": "one"},
)


def said(*pieces: EndpointPlan | DeploymentPlan, unsaid: bool = False) -> PlanChange:
    endpoints = tuple(piece for piece in pieces if isinstance(piece, EndpointPlan))
    both = frozenset({"traffic", "mirror_traffic"})
    return PlanChange(
        endpoints=endpoints,
        deployments=tuple(piece for piece in pieces if isinstance(piece, DeploymentPlan)),
        unsaid={e.name.lower(): both for e in endpoints} if unsaid else {},
    )


def as_plan(change: PlanChange) -> Plan:
    return merge(Plan(), change)


def test_the_plan_of_these_tests_can_be():
    """Given the plan below, when it is checked, then nothing is wrong with it."""
    check_plan(PLAN)


def test_pieces_are_replaced_in_place_or_added_at_the_end():
    """Given one piece that is there and one that is not, when they are merged, then in order."""
    bigger = replace(BLUE, name="Blue", model="m")
    other = DeploymentPlan(name="new", model="m")
    merged = merge(PLAN, said(bigger, other))
    assert merged.deployments == (bigger, GREEN, ROOT, ONE, other)
    assert merged.endpoints == (replace(SHOP, traffic={"Blue": 100}), SERVERLESS)


def test_traffic_that_is_not_mentioned_stays():
    """Given an endpoint without traffic in its document, when it is merged, then it keeps it."""
    tagged = EndpointPlan(name="shop", tags={"a": "b"})
    assert merge(PLAN, said(tagged, unsaid=True)).endpoints[0].traffic == {"blue": 100}
    assert merge(PLAN, said(tagged)).endpoints[0].traffic == {}
    assert merge(Plan(), said(tagged, unsaid=True)).endpoints == (tagged,)


@FEW
@given(plans(detailed=False), plans(detailed=False))
def test_merging_twice_is_merging_once(plan: Plan, other: Plan):
    """Given any change, when it is merged again, then nothing changes."""
    change = PlanChange(
        endpoints=other.endpoints, deployments=other.deployments, defaults=other.defaults
    )
    merged = merge(plan, change)
    assert merge(merged, change) == merged


@FEW
@given(plans(detailed=False), plans(detailed=False))
def test_files_alone_decide_when_nothing_else_changed(before: Plan, now: Plan):
    """Given a plan that only files made, when they say something else, then that is the plan."""
    change = PlanChange(endpoints=now.endpoints, deployments=now.deployments, defaults=now.defaults)
    again = redeclare(before, before, change)
    assert {e.name: e for e in again.endpoints} == {e.name: e for e in now.endpoints}
    assert {d.key: d for d in again.deployments} == {d.key: d for d in now.deployments}
    assert again.defaults == now.defaults


def test_a_change_at_run_time_outlives_a_restart():
    """Given traffic shifted and a deployment added, when the files say the same, both stay."""
    files = said(SHOP, BLUE, GREEN)
    running = set_traffic(as_plan(files), "shop", {"blue": 10, "green": 90})
    running = merge(running, said(ROOT))
    assert redeclare(running, as_plan(files), files) == running


def test_what_files_say_anew_wins():
    """Given a change at run time and another in the files, when they are read, then the files'."""
    files = said(SHOP, BLUE, GREEN)
    running = set_traffic(as_plan(files), "shop", {"green": 100})
    new = said(replace(SHOP, traffic={"blue": 50, "green": 50}), replace(BLUE, model="m"), GREEN)
    again = redeclare(running, as_plan(files), new)
    assert again.endpoints[0].traffic == {"blue": 50, "green": 50}
    assert find_deployment(again, "shop", "blue").model == "m"


def test_what_files_no_longer_say_goes():
    """Given an endpoint gone from the files, when they are read, then all of it has gone."""
    files = replace(said(SHOP, BLUE, SERVERLESS, ONE), defaults={"embed": "one"})
    running = merge(as_plan(files), said(GREEN, ROOT))
    again = redeclare(running, as_plan(files), said(SERVERLESS, ONE))
    assert again == Plan(endpoints=(SERVERLESS,), deployments=(ONE, ROOT))


def test_a_share_of_nothing_does_not_hold_a_deployment():
    """Given a retired deployment, when the files drop it, then its share of 0 goes with it."""
    files = said(SHOP, BLUE, GREEN, unsaid=True)
    running = set_traffic(as_plan(files), "shop", {"blue": 0, "green": 100}, {"blue": 0})
    again = redeclare(running, as_plan(files), said(SHOP, GREEN, unsaid=True))
    assert again.endpoints == (replace(SHOP, traffic={"green": 100}),)
    check_plan(again)


def test_traffic_is_set_whole():
    """Given shares for one deployment, when they are set, then the other gets nothing."""
    plan = set_traffic(PLAN, "SHOP", {"GREEN": 100}, {"blue": 50})
    assert plan.endpoints[0] == replace(SHOP, traffic={"green": 100}, mirror_traffic={"blue": 50})
    assert set_traffic(plan, "shop", mirror={}).endpoints[0].traffic == {"green": 100}
    assert all_traffic_to(plan, "shop", "BLUE").endpoints[0].traffic == {"blue": 100}
    assert set_traffic(plan, "shop", {}).endpoints[0].traffic == {}


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"blue": 90}, "add up to 90"),
        ({"red": 100}, "'red' is no deployment of 'shop'"),
        ({"blue": -10, "green": 110}, "-10 is no percentage"),
    ],
)
def test_traffic_that_cannot_be_is_refused(shares: dict[str, int], words: str):
    """Given shares that cannot be, when they are set, then the plan stays."""
    with pytest.raises(InvalidPlan, match=words):
        set_traffic(PLAN, "shop", shares)


def test_unknown_names_are_not_found():
    """Given names that nobody has, when something is done to them, then they were not found."""
    with pytest.raises(NotFound, match="Endpoint 'x' was not found"):
        set_traffic(PLAN, "x", {})
    with pytest.raises(NotFound, match="Deployment 'x' of endpoint 'shop' was not found"):
        all_traffic_to(PLAN, "shop", "x")
    with pytest.raises(NotFound, match="Endpoint"):
        without_endpoint(PLAN, "root.v1")
    with pytest.raises(NotFound, match="Deployment 'blue' was not found"):
        without_deployment(PLAN, None, "blue")


def test_an_endpoint_goes_with_its_deployments():
    """Given an endpoint, when it is deleted, then its deployments have gone and others have not."""
    left = without_endpoint(PLAN, "Shop")
    assert left == replace(PLAN, endpoints=(SERVERLESS,), deployments=(ROOT, ONE))


def test_a_deployment_goes_when_nobody_asks_it():
    """Given deployments without traffic, when they are deleted, then so are their shares."""
    plan = set_traffic(PLAN, "shop", {"blue": 100, "green": 0}, {"green": 0})
    left = without_deployment(plan, "SHOP", "Green")
    assert left.deployments == (BLUE, ROOT, ONE)
    assert left.endpoints[0] == SHOP
    assert without_deployment(replace(PLAN, defaults={}), None, "ROOT.v1").deployments == (
        BLUE,
        GREEN,
        ONE,
    )


def test_what_is_asked_is_not_deleted():
    """Given what still answers, when it is deleted, then the refusal says what to do first."""
    with pytest.raises(Conflict, match="'blue' still gets 100 % of the traffic of 'shop'"):
        without_deployment(PLAN, "shop", "blue")
    mirrored = set_traffic(PLAN, "shop", mirror={"green": 5})
    with pytest.raises(Conflict, match='--mirror-traffic "green=0'):
        without_deployment(mirrored, "shop", "green")
    with pytest.raises(Conflict, match=r"'root\.v1' is the default for chat"):
        without_deployment(PLAN, None, "root.v1")
    with pytest.raises(Conflict, match="'one' is the default for embed"):
        without_endpoint(PLAN, "one")
    with pytest.raises(Conflict, match="zaffre serverless-endpoint delete -n one"):
        without_deployment(PLAN, "one", "one")


def test_shares_are_read_as_azure_takes_them():
    """Given shares on a command line, when they are read, then numbers by name."""
    assert read_shares("blue=90 green=10") == {"blue": 90, "green": 10}
    assert read_shares("blue=90%,green=10") == {"blue": 90, "green": 10}
    assert read_shares("") == {}
    for wrong in ("blue", "blue=x", "=5", "blue=1 blue=2", "blue=-1"):
        with pytest.raises(ConfigurationError, match="must be like: blue=90"):
            read_shares(wrong)
