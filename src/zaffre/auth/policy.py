"""Policy: whether a principal may do a thing in a place. Pure; nothing here looks anything up."""

from typing import Literal

from msgspec import Struct

from zaffre.core.calls import Operation
from zaffre.core.errors import PermissionDenied, Unauthenticated
from zaffre.core.plan import AuthMode
from zaffre.core.principals import Credential, Grant, Permission, Principal

Verdict = Literal["yes", "permission", "scope", "operation", "credential"]
"""`yes`, or what is missing: the `permission` anywhere, anything granted in this place (`scope`:
who asks must not learn that the place exists), this `operation` in it, or the kind of `credential`
that its endpoint takes."""

_MODES: dict[Credential, AuthMode | None] = {
    "server_key": None,  # works everywhere
    "endpoint_key": "key",
    "aml_token": "aml_token",
    "aad_token": "aad_token",
}


class Place(Struct, frozen=True, kw_only=True):
    """Where something is to be done: the result of routing. Names in any case."""

    deployment: str
    model: str
    """As its card states it."""
    endpoint: str | None = None
    """None: at the server's root."""
    auth_mode: AuthMode | None = None
    """Of the endpoint. None, as at the root: any credential."""

    @property
    def target(self) -> str:
        """What a grant's `endpoints` are compared with."""
        return (self.deployment if self.endpoint is None else self.endpoint).lower()


def may(
    principal: Principal,
    permission: Permission,
    place: Place | None = None,
    operation: Operation | None = None,
) -> bool:
    """Whether `principal` has `permission` in `place`, for `operation` if one is given.

    Without a place it is asked of the whole server, which only a grant without bounds allows.
    """
    return judge(principal, permission, place, operation) == "yes"


def holds(principal: Principal, permission: Permission) -> bool:
    """Whether `principal` has `permission` anywhere at all."""
    return permission in principal.permissions or any(
        permission in grant.permissions for grant in principal.also
    )


def check_holds(principal: Principal, permission: Permission) -> None:
    """Raises `PermissionDenied` for who has `permission` nowhere."""
    if not holds(principal, permission):
        raise PermissionDenied(
            f"Principal does not have access to API/Operation: it needs '{permission}'."
        )


def judge(
    principal: Principal,
    permission: Permission,
    place: Place | None = None,
    operation: Operation | None = None,
) -> Verdict:
    """As `may`, with the reason."""
    verdict: Verdict = "permission"
    for grant in _grants(principal):
        if permission not in grant.permissions:
            continue
        if place is None:
            if _unbounded(grant):
                return "yes"
        elif _covers(grant, place):
            if operation is None or _does(grant, operation):
                return "yes" if _counts(principal.credential, place) else "credential"
            verdict = "operation"
        if verdict == "permission":
            verdict = "scope"
    return verdict


def check(
    principal: Principal,
    permission: Permission,
    place: Place | None = None,
    operation: Operation | None = None,
) -> None:
    """Raises `PermissionDenied`, or `Unauthenticated` for a credential that does not count there.

    Only for places that the caller may know of: ask `judge` where `scope` must look like a name
    that nobody has.
    """
    match judge(principal, permission, place, operation):
        case "yes":
            return
        case "credential":
            raise Unauthenticated
        case "operation":
            raise PermissionDenied(f"Principal does not have access to operation '{operation}'.")
        case "permission" | "scope":
            raise PermissionDenied(
                f"Principal does not have access to this: it needs the permission '{permission}'."
            )


def may_grant(principal: Principal, wanted: Grant) -> bool:
    """Whether `principal` may give `wanted` to a new key: never more than its own `admin` reaches.

    Within the bounds of an `admin` grant it may give `call`, and whatever else it has there.
    """
    for grant in _grants(principal):
        if "admin" not in grant.permissions or not _contains(grant, wanted):
            continue
        if _unbounded(grant) or wanted.permissions <= {"call", *grant.permissions}:
            return True
    return False


def _grants(principal: Principal) -> tuple[Grant | Principal, ...]:
    return (principal, *principal.also) if principal.also else (principal,)


def _covers(grant: Grant | Principal, place: Place) -> bool:
    return (grant.endpoints is None or place.target in grant.endpoints) and (
        grant.models is None or place.model.lower() in grant.models
    )


def _counts(credential: Credential, place: Place) -> bool:
    return place.auth_mode is None or _MODES[credential] in (None, place.auth_mode)


def _does(grant: Grant | Principal, operation: Operation) -> bool:
    return grant.operations is None or operation in grant.operations


def _unbounded(grant: Grant | Principal) -> bool:
    return grant.endpoints is None and grant.models is None and grant.operations is None


def _contains(outer: Grant | Principal, inner: Grant) -> bool:
    """Whether every bound of `outer` holds for `inner` too."""
    bounds = (
        (outer.endpoints, inner.endpoints),
        (outer.models, inner.models),
        (outer.operations, inner.operations),
    )
    return all(o is None or (i is not None and i <= o) for o, i in bounds)
