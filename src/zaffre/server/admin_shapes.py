"""What the admin API takes and answers, as the OpenAPI document shows it.

Endpoints and deployments are answered as `service.platform` shows them, so that what was answered
can be declared again; their structs here are for the document, which a test holds against answers.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from zaffre.config.fields import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)
from zaffre.core.plan import AuthMode
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


def _any_of(*kinds: type[Struct]) -> Meta:
    """One of several structs, which no field of any tells from the others."""
    references = [{"$ref": REFERENCE.format(name=kind.__name__)} for kind in kinds]
    return Meta(extra_json_schema={"anyOf": references})


DECLARED = (ManagedOnlineEndpoint, ManagedOnlineDeployment, ServerlessEndpoint, ShortForm)
SHOWN = (ShownEndpoint, ShownServerless)
NAMED_KINDS = (*DECLARED, *SHOWN)
"""Structs that schemas here name without containing them."""
AnyEndpoint = Annotated[dict[str, Any], _any_of(*SHOWN)]


class Documents(Struct, frozen=True, forbid_unknown_fields=True):
    """What to create or replace, in Azure's form or our own."""

    documents: Annotated[list[Annotated[Any, _any_of(*DECLARED)]], Meta(max_length=MAX_DOCUMENTS)]


class WhatWasApplied(Struct, frozen=True):
    """What a change did."""

    endpoints: list[AnyEndpoint]
    deployments: list[ShownDeployment]
    """As they are now, of those that were named."""
    warnings: list[str]
