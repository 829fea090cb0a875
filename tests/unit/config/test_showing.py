"""Showing: as Azure's command line prints it, and the same when it is declared again."""

from pathlib import Path

import msgspec
import pytest
from any_plans import plans
from hypothesis import given, settings

from zaffre.config.declarations import apply, read_documents, read_files
from zaffre.config.plan_checks import check_plan
from zaffre.config.showing import (
    list_deployments,
    list_endpoints,
    show_deployment,
    show_endpoint,
)
from zaffre.core.errors import NotFound
from zaffre.core.plan import EndpointPlan, Plan

SAMPLES = Path(__file__).parent / "samples"
USUAL_PROBE = {
    "initial_delay": 10,
    "period": 10,
    "timeout": 2,
    "success_threshold": 1,
    "failure_threshold": 30,
}


def test_an_endpoint_and_a_deployment_are_shown_as_azure_shows_them():
    """Given a roll-out, when its parts are shown, then under Azure's names, defaults included."""
    plan = read_files([SAMPLES / "rollout.yaml"]).plan
    assert show_endpoint(plan, "Docs-Endpoint") == {
        "name": "docs-endpoint",
        "kind": "Managed",
        "auth_mode": "key",
        "traffic": {"blue": 90, "green": 10},
        "mirror_traffic": {"green": 10},
        "scoring_uri": None,
        "provisioning_state": None,
        "tags": {"team": "search", "cost-center": "4711"},
    }
    assert show_deployment(plan, "docs-endpoint", "GREEN") == {
        "name": "green",
        "endpoint_name": "docs-endpoint",
        "type": "managed",
        "model": f"path:{SAMPLES}/../weights/phi-3.gguf",
        "instance_type": "Standard_NC24ads_A100_v4",
        "instance_count": 3,
        "request_settings": {},
        "liveness_probe": USUAL_PROBE,
        "readiness_probe": USUAL_PROBE,
        "scale_settings": {"type": "default"},
        "environment_variables": {},
        "provisioning_state": None,
        "tags": {},
        "zaffre": {
            "engine": "llama",
            "options": {"n_ctx": 8192},
            "slots": 8,
            "threads": 6,
            "loading": "first_use",
            "idle_unload_s": 600.0,
        },
    }


def test_lists_are_by_kind_and_by_endpoint():
    """Given endpoints of both kinds and the root, when they are listed, then each by itself."""
    plan = read_files([SAMPLES / "short.yaml", SAMPLES / "serverless.yaml"]).plan
    assert [e["name"] for e in list_endpoints(plan)] == ["chat"]
    assert [e["name"] for e in list_endpoints(plan, "serverless")] == [
        "vectors",
        "phi-3-mini",
        "remote",
    ]
    assert [d["name"] for d in list_deployments(plan, "CHAT")] == ["blue"]
    assert [d["name"] for d in list_deployments(plan, None)] == ["phi-3.5"]
    with pytest.raises(NotFound, match="Endpoint 'shop' was not found"):
        list_deployments(plan, "shop")
    with pytest.raises(NotFound, match="Deployment 'green' of endpoint 'chat' was not found"):
        show_deployment(plan, "chat", "green")


def test_what_every_serverless_endpoint_has_is_not_shown():
    """Given a plain serverless endpoint, when it is shown, then without extras."""
    plan = read_files([SAMPLES / "short.yaml"]).plan
    assert show_endpoint(plan, "vectors") == {
        "name": "vectors",
        "model_id": "all-minilm-l6-v2",
        "auth_mode": "key",
        "scoring_uri": None,
        "provisioning_state": None,
        "tags": {},
    }


@settings(max_examples=40, deadline=None)
@given(plans())
def test_what_is_shown_can_be_declared_again(plan: Plan):
    """Given any plan, when all of it is shown and declared, then it is the same, without warning
    but for sizes that nobody knows."""
    check_plan(plan)
    shown = [show_endpoint(plan, endpoint.name) for endpoint in plan.endpoints]
    serverless = {e.name for e in plan.endpoints if e.kind == "serverless"}
    shown += [
        show_deployment(plan, d.endpoint, d.name)
        for d in plan.deployments
        if d.endpoint not in serverless
    ]
    again = read_documents(msgspec.json.decode(msgspec.json.encode(shown)))
    plan_again = apply(Plan(defaults={}), again)
    assert set(map(_hashable, plan_again.endpoints)) == set(map(_hashable, plan.endpoints))
    assert set(map(_hashable, plan_again.deployments)) == set(map(_hashable, plan.deployments))
    assert {w.text.split(" of ")[0] for w in again.warnings} <= {"nobody knows the size"}


def _hashable(piece: object) -> bytes:
    return msgspec.json.encode(piece, order="deterministic")


def test_shares_of_nothing_are_kept():
    """Given an endpoint that was never given traffic, when it is shown, then with none."""
    plan = Plan(endpoints=(EndpointPlan(name="one"),))
    assert show_endpoint(plan, "one")["traffic"] == {}
