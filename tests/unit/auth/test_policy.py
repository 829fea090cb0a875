"""Policy: nobody reaches what was not granted, over all grants and places."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from zaffre.auth.policy import Place, check, holds, judge, may, may_grant
from zaffre.core.errors import PermissionDenied, Unauthenticated
from zaffre.core.principals import Grant, Permission, Principal

NAMES = ["shop", "lab", "a", "b"]
MODELS = ["phi-3", "minilm"]
PERMISSIONS = ["call", "admin", "read_usage"]
OPERATIONS = ["chat", "complete", "embed", "embed_images"]


def _bound(values: list[str]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.none() | st.frozensets(st.sampled_from(values))


grants = st.builds(
    Grant,
    permissions=st.frozensets(st.sampled_from(PERMISSIONS)),
    endpoints=_bound(NAMES),
    models=_bound(MODELS),
    operations=_bound(OPERATIONS),
)
credentials = st.sampled_from(["server_key", "endpoint_key", "aml_token", "aad_token"])
places = st.builds(
    Place,
    deployment=st.sampled_from([*NAMES, "Shop"]),
    model=st.sampled_from([*MODELS, "Phi-3"]),
    endpoint=st.none() | st.sampled_from([*NAMES, "LAB"]),
    auth_mode=st.none() | st.sampled_from(["key", "aml_token", "aad_token"]),
)
permissions = st.sampled_from(PERMISSIONS)
operations = st.none() | st.sampled_from(OPERATIONS)


def _of(*held: Grant, credential: str = "server_key") -> Principal:
    first = structs.asdict(held[0])
    return Principal("p", "p", **first, also=held[1:], credential=credential)  # type: ignore[arg-type]


principals = st.builds(
    lambda held, credential: _of(*held, credential=credential),
    st.lists(grants, min_size=1, max_size=3),
    credentials,
)


def _allows(grant: Grant, permission: str, place: Place, operation: str | None) -> bool:
    """What a grant means, written another way: every bound holds, or is none."""
    target = place.endpoint if place.endpoint is not None else place.deployment
    asked: list[tuple[frozenset[Any] | None, str | None]] = [
        (grant.endpoints, target.lower()),
        (grant.models, place.model.lower()),
        (grant.operations, operation),
    ]
    return permission in grant.permissions and all(
        bound is None or value is None or value in bound for bound, value in asked
    )


def _held(principal: Principal) -> list[Grant]:
    names = Grant.__struct_fields__
    return [Grant(**{name: getattr(principal, name) for name in names}), *principal.also]


@given(principals, permissions, places, operations)
def test_somebody_may_exactly_what_one_grant_allows(
    principal: Principal, permission: Permission, place: Place, operation: Any
):
    modes = {"server_key": place.auth_mode, "endpoint_key": "key"}
    mode = modes.get(principal.credential, principal.credential)
    granted = any(_allows(grant, permission, place, operation) for grant in _held(principal))

    assert may(principal, permission, place, operation) == (
        granted and place.auth_mode in (None, mode)
    )


@given(principals, permissions, places, operations)
def test_only_who_knows_of_a_place_is_told_more_than_that_it_is_not_there(
    principal: Principal, permission: Permission, place: Place, operation: Any
):
    knows = any(_allows(grant, permission, place, None) for grant in _held(principal))

    verdict = judge(principal, permission, place, operation)

    assert (verdict in ("yes", "operation", "credential")) == knows


@given(principals, permissions, places, operations)
def test_a_narrower_grant_never_allows_more(
    principal: Principal, permission: Permission, place: Place, operation: Any
):
    models = {"phi-3"} if principal.models is None else principal.models & {"phi-3"}
    bounded = structs.replace(principal, models=frozenset(models), also=principal.also[1:])

    assert may(principal, permission, place, operation) or not may(
        bounded, permission, place, operation
    )


@given(principals, permissions)
def test_the_whole_server_needs_a_grant_without_bounds(
    principal: Principal, permission: Permission
):
    unbounded = [
        grant
        for grant in _held(principal)
        if permission in grant.permissions
        and grant.endpoints is grant.models is grant.operations is None
    ]
    assert may(principal, permission) == bool(unbounded)


@given(principals, grants, permissions, places, operations)
def test_nobody_gives_away_more_than_their_own_reach(
    principal: Principal, wanted: Grant, permission: Permission, place: Place, operation: Any
):
    if may_grant(principal, wanted) and not may(principal, "admin"):
        anywhere = structs.replace(place, auth_mode=None)
        if _allows(wanted, permission, anywhere, operation):
            assert may(principal, "admin", anywhere, operation)
            if permission != "call":
                assert may(principal, permission, anywhere, operation)


@given(principals, permissions, places, operations)
def test_who_may_anything_holds_the_permission_somewhere(
    principal: Principal, permission: Permission, place: Place, operation: Any
):
    if may(principal, permission, place, operation):
        assert holds(principal, permission)
    assert holds(principal, permission) == (judge(principal, permission, place) != "permission")


def test_two_grants_do_not_mix():
    calls_phi = Grant(models=frozenset({"phi-3"}))
    runs_lab = Grant(permissions=frozenset({"admin"}), endpoints=frozenset({"lab"}))
    both = _of(calls_phi, runs_lab)
    lab_minilm = Place(endpoint="lab", deployment="a", model="minilm")

    assert not may(both, "call", lab_minilm)
    assert may(both, "admin", lab_minilm)
    assert may(both, "call", Place(deployment="a", model="Phi-3"))
    assert not may(both, "admin", Place(deployment="a", model="phi-3"))


@pytest.mark.parametrize(
    ("credential", "modes"),
    [
        ("server_key", {"key", "aml_token", "aad_token", None}),
        ("endpoint_key", {"key", None}),
        ("aml_token", {"aml_token", None}),
        ("aad_token", {"aad_token", None}),
    ],
)
def test_an_endpoint_takes_the_credential_of_its_mode(credential: str, modes: set[Any]):
    principal = _of(Grant(), credential=credential)
    taken = {
        mode
        for mode in ("key", "aml_token", "aad_token", None)
        if may(principal, "call", Place(endpoint="e", deployment="d", model="m", auth_mode=mode))
    }
    assert taken == modes


def test_a_refusal_names_its_cause():
    place = Place(endpoint="shop", deployment="d", model="m", auth_mode="aad_token")
    check(_of(Grant()), "call", place, "chat")
    with pytest.raises(Unauthenticated):
        check(_of(Grant(), credential="endpoint_key"), "call", place)
    with pytest.raises(PermissionDenied, match="'embed'"):
        check(_of(Grant(operations=frozenset({"chat"}))), "call", place, "embed")
    for nobody in (Grant(permissions=frozenset()), Grant(endpoints=frozenset({"lab"}))):
        with pytest.raises(PermissionDenied, match="'call'") as raised:
            check(_of(nobody), "call", place)
        assert "shop" not in raised.value.message


def test_an_admin_of_one_endpoint_makes_keys_for_it_alone():
    admin = _of(Grant(permissions=frozenset({"admin"}), endpoints=frozenset({"shop", "lab"})))

    assert may_grant(admin, Grant(endpoints=frozenset({"shop"})))
    assert may_grant(admin, Grant(endpoints=frozenset({"lab"}), models=frozenset({"m"})))
    assert not may_grant(admin, Grant())
    assert not may_grant(admin, Grant(endpoints=frozenset({"shop", "other"})))
    usage = Grant(permissions=frozenset({"read_usage"}), endpoints=frozenset({"shop"}))
    assert not may_grant(admin, usage)
    assert may_grant(_of(Grant(permissions=frozenset({"admin"}))), usage)
    assert not may_grant(_of(Grant()), Grant())
