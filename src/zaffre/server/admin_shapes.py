"""What the admin API takes and answers, as the OpenAPI document shows it.

Endpoints and deployments are answered as `service.platform` shows them, so that what was answered
can be declared again; their structs here are for the document, which a test holds against answers.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from zaffre.auth.endpoint_tokens import LIFETIME_S, MAX_LIFETIME_S, EndpointToken
from zaffre.auth.keybook import KeyFacts, NewKey, Slot
from zaffre.config.fields import (
    LimitFields,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)
from zaffre.config.serving import limits
from zaffre.core.calls import Operation
from zaffre.core.plan import AuthMode
from zaffre.core.principals import Grant, Permission
from zaffre.service.credentials import KeyPair
from zaffre.service.platform import ReplicaStatus

REFERENCE = "#/components/schemas/{name}"
MAX_DOCUMENTS = 256
Shares = dict[str, Annotated[int, Meta(ge=0, le=100)]]
Provisioning = Literal["Updating", "Succeeded", "Failed"]


class ShownEndpoint(Struct, kw_only=True):
    """A managed endpoint."""

    name: str
    kind: Literal["Managed"]
    auth_mode: AuthMode
    traffic: Shares
    mirror_traffic: Shares
    scoring_uri: Annotated[str, Meta(description="Its base path on this server.")]
    provisioning_state: Annotated[
        Provisioning, Meta(description="The worst one of its deployments.")
    ]
    tags: dict[str, str]
    zaffre: dict[str, Any] = {}


class ShownServerless(Struct, kw_only=True):
    """A serverless endpoint."""

    name: str
    model_id: str
    auth_mode: AuthMode
    scoring_uri: Annotated[str, Meta(description="Its base path on this server.")]
    provisioning_state: Provisioning
    tags: dict[str, str]
    zaffre: dict[str, Any] = {}


class ShownDeployment(Struct, kw_only=True):
    """A deployment."""

    name: str
    endpoint_name: Annotated[str | None, Meta(description="null: at the server's root.")]
    type: str
    model: str
    instance_type: str | None
    instance_count: int
    request_settings: dict[str, Any]
    liveness_probe: dict[str, Any]
    readiness_probe: dict[str, Any]
    scale_settings: dict[str, Any]
    environment_variables: dict[str, str]
    provisioning_state: Provisioning
    provisioning_error: Annotated[str, Meta(description="Why it is Failed.")] = ""
    tags: dict[str, str]
    zaffre: dict[str, Any] = {}


class TrafficChange(Struct, frozen=True, forbid_unknown_fields=True):
    """Other shares of an endpoint's traffic; what is absent stays."""

    traffic: Shares | None = None
    mirror_traffic: Shares | None = None


class LogLines(Struct, frozen=True):
    """The end of a log."""

    lines: list[str]


class Replicas(Struct, frozen=True):
    """Everything that runs."""

    replicas: list[ReplicaStatus]


class Done(Struct, frozen=True):
    """Nothing to say."""


class SlotWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of an endpoint's two keys."""

    key_type: Slot = "primary"


class RenewedKey(Struct, frozen=True):
    """A credential that was made just now. Nobody can show it again."""

    key_type: Slot
    key: Annotated[str, Meta(description="A token, where the endpoint's auth_mode is aml_token.")]

    def __repr__(self) -> str:
        """Without the key: this ends up in logs."""
        return f"RenewedKey({self.key_type!r})"


class ShownToken(Struct, frozen=True, kw_only=True, rename="camel"):
    """A token for an endpoint, as Azure shows it. Times are seconds since 1970, UTC."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - no secret
    expiry_time_utc: int
    refresh_after_time_utc: Annotated[int, Meta(description="From then on, ask for another one.")]

    def __repr__(self) -> str:
        """Without the token: this ends up in logs."""
        return f"ShownToken(expiry_time_utc={self.expiry_time_utc})"


class TokenWanted(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a token is to live."""

    lifetime_s: Annotated[int, Meta(ge=1, le=MAX_LIFETIME_S)] = LIFETIME_S


Bounds = Annotated[list[Annotated[str, Meta(min_length=1)]] | None, Meta(description="null: all.")]


class KeyWanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make. It is bounded to what its lists name."""

    name: Annotated[str, Meta(description="What lists, log and ledger call it.")]
    permissions: Annotated[tuple[Permission, ...], Meta(min_length=1)] = ("call",)
    endpoints: Bounds = None
    models: Bounds = None
    operations: Annotated[list[Operation] | None, Meta(description="null: all.")] = None
    limits: LimitFields | None = None
    expires_at: Annotated[int | None, Meta(description="Seconds since 1970, UTC. null: never.")] = (
        None
    )

    def grant(self) -> Grant:
        """What the key is to grant."""
        return Grant(
            permissions=frozenset(self.permissions),
            endpoints=_lower(self.endpoints),
            models=_lower(self.models),
            operations=None if self.operations is None else frozenset(self.operations),
            limits=limits(self.limits),
        )


def _lower(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(name.lower() for name in names)


class MadeKey(KeyFacts, frozen=True, kw_only=True):
    """A key that was made just now. Nobody can show it again."""

    key: str

    def __repr__(self) -> str:
        """Without the key: this ends up in logs."""
        return f"MadeKey({self.name!r})"


def made_key(made: NewKey) -> MadeKey:
    """A new key as it is shown once."""
    return MadeKey(key=made.key, **asdict(made.facts))


def shown_credentials(found: KeyPair | EndpointToken) -> KeyPair | ShownToken:
    """What an endpoint is called with, in Azure's words."""
    if isinstance(found, KeyPair):
        return found
    return ShownToken(
        access_token=found.token,
        expiry_time_utc=found.expires_at,
        refresh_after_time_utc=found.refresh_after,
    )


def _any_of(*kinds: type[Struct]) -> Meta:
    """One of several structs, which no field of any tells from the others."""
    references = [{"$ref": REFERENCE.format(name=kind.__name__)} for kind in kinds]
    return Meta(extra_json_schema={"anyOf": references})


DECLARED = (ManagedOnlineEndpoint, ManagedOnlineDeployment, ServerlessEndpoint, ShortForm)
SHOWN = (ShownEndpoint, ShownServerless)
CREDENTIALS = (KeyPair, ShownToken)
NAMED_KINDS = (*DECLARED, *SHOWN, *CREDENTIALS)
"""Structs that schemas here name without containing them."""
AnyEndpoint = Annotated[dict[str, Any], _any_of(*SHOWN)]
AnyCredentials = Annotated[dict[str, Any], _any_of(*CREDENTIALS)]


class Documents(Struct, frozen=True, forbid_unknown_fields=True):
    """What to create or replace, in Azure's form or our own."""

    documents: Annotated[list[Annotated[Any, _any_of(*DECLARED)]], Meta(max_length=MAX_DOCUMENTS)]


class WhatWasApplied(Struct, frozen=True):
    """What a change did."""

    endpoints: list[AnyEndpoint]
    deployments: list[ShownDeployment]
    """As they are now, of those that were named."""
    warnings: list[str]
