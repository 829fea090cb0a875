"""Token rules: which claims give which grants."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.auth.jwt_form import Claims
from zaffre.auth.token_rules import grants_of
from zaffre.config.auth_section import RuleDeclaration


def _claims(**changes: Any) -> Claims:
    return msgspec.convert({"iss": "i", "aud": "a", "exp": 1, **changes}, Claims)


def _grants(rule: dict[str, Any], **claims: Any) -> int:
    return len(grants_of([msgspec.convert(rule, RuleDeclaration)], _claims(**claims), "me"))


@pytest.mark.parametrize(
    ("rule", "claims", "fits"),
    [
        ({}, {}, True),
        ({"roles": ["a", "b"]}, {"roles": ["b"]}, True),
        ({"roles": ["a"]}, {"roles": "a"}, True),
        ({"roles": ["a"]}, {"roles": ["A"]}, False),
        ({"roles": ["a"]}, {"scp": "a", "groups": ["a"], "sub": "a"}, False),
        ({"roles": ["a"]}, {}, False),
        ({"scopes": ["call"]}, {"scp": "read call"}, True),
        ({"scopes": ["call"]}, {"scope": "call"}, True),
        ({"scopes": ["call"]}, {"scope": ["call"]}, True),
        ({"scopes": ["call"]}, {"scp": "recall"}, False),
        ({"groups": ["g"]}, {"groups": ["f", "g"]}, True),
        ({"app_ids": ["x"]}, {"azp": "x"}, True),
        ({"app_ids": ["x"]}, {"appid": "x"}, True),
        ({"app_ids": ["x"]}, {"client_id": "x"}, True),
        ({"app_ids": ["x"]}, {"azp": "y", "appid": "x"}, False),
        ({"app_ids": ["x"]}, {}, False),
        ({"subjects": ["me"]}, {}, True),
        ({"subjects": ["you"]}, {}, False),
        ({"roles": ["a"], "groups": ["g"]}, {"roles": ["a"], "groups": ["g"]}, True),
        ({"roles": ["a"], "groups": ["g"]}, {"roles": ["a"], "groups": []}, False),
        ({"roles": ["a"], "app_ids": ["x"]}, {"roles": ["a"], "azp": "y"}, False),
    ],
    ids=str,
)
def test_a_rule_fits_by_all_of_its_lists(rule: dict[str, Any], claims: dict[str, Any], fits: bool):
    assert _grants(rule, **claims) == fits


@pytest.mark.parametrize(
    ("roles", "models"),
    [
        (["call-model-Phi-3"], {"phi-3"}),
        (["call-model-a", "call-model-b", "other"], {"a", "b"}),
        (["everything", "call-model-a"], None),
        (["call-model-"], "none"),
        (["call-mode"], "none"),
    ],
    ids=lambda value: None if isinstance(value, set) else str(value),
)
def test_a_role_can_name_its_model(roles: list[str], models: Any):
    rule = RuleDeclaration(roles=("call-model-{model}", "everything"))

    grants = grants_of([rule], _claims(roles=roles), "me")

    if models == "none":
        assert grants == ()
    else:
        assert [grant.models for grant in grants] == [models]


def test_models_of_two_lists_must_agree():
    rule = RuleDeclaration(roles=("call-{model}",), groups=("team-{model}",))
    claims = _claims(roles=["call-a", "call-b"], groups=["team-b", "team-c"])

    assert [grant.models for grant in grants_of([rule], claims, "me")] == [{"b"}]
    assert grants_of([rule], _claims(roles=["call-a"], groups=["team-b"]), "me") == ()


def test_every_rule_that_fits_grants_on_its_own():
    rules = [
        RuleDeclaration(roles=("a",), models=("M",)),
        RuleDeclaration(roles=("x",), permissions=("admin",)),
        RuleDeclaration(roles=("b",), permissions=("admin",), endpoints=("Shop",)),
    ]

    first, second = grants_of(rules, _claims(roles=["a", "b"]), "me")

    assert (first.permissions, first.models, first.endpoints) == ({"call"}, {"m"}, None)
    assert (second.permissions, second.models, second.endpoints) == ({"admin"}, None, {"shop"})


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_model_is_what_stands_between(before: str, model: str, after: str):
    rule = RuleDeclaration(roles=(before + "{model}" + after,))

    grants = grants_of([rule], _claims(roles=[before + model + after]), "me")

    assert [grant.models for grant in grants] == ([{model.lower()}] if model else [])
