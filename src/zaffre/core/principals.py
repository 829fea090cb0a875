"""Principals: who calls, and what they may do."""

from typing import Literal

from msgspec import Struct

from zaffre.core.calls import Operation
from zaffre.core.plan import Limits

Permission = Literal["call", "admin", "read_usage"]
"""`call` models, `admin`ister endpoints, deployments and keys, `read_usage` of everybody."""
Credential = Literal["server_key", "endpoint_key", "aml_token", "aad_token"]
"""What was shown: a key of the server, one of an endpoint's two keys, a short-lived token of ours
for an endpoint, or a token of Entra ID or another issuer."""


class Grant(Struct, frozen=True, kw_only=True):
    """Permissions and their bounds, which belong together. None in a bound means: no bound."""

    permissions: frozenset[Permission] = frozenset({"call"})
    endpoints: frozenset[str] | None = None
    """Names of endpoints and of deployments outside endpoints, in lower case."""
    models: frozenset[str] | None = None
    """Names of models, as cards state them, in lower case."""
    operations: frozenset[Operation] | None = None
    limits: Limits | None = None
    """What may be used by whoever has this; None: no bound of its own."""


class Principal(Struct, frozen=True):
    """Who calls, with all that was granted. None in a scope means: no bound.

    `zaffre.auth.policy` reads the grants; nobody else should.
    """

    name: str
    """What ledger and log call it: the key's name, or the token's subject or application."""
    id: str = ""
    """The key's id or the token's subject: quotas and the ledger count by it."""
    permissions: frozenset[Permission] = frozenset({"call"})
    endpoints: frozenset[str] | None = None
    """Names of endpoints and of deployments outside endpoints, in lower case."""
    models: frozenset[str] | None = None
    """Names of models, as cards state them, in lower case."""
    operations: frozenset[Operation] | None = None
    also: tuple[Grant, ...] = ()
    """More of the kind: what any one grant allows is allowed, and no mixture of two."""
    credential: Credential = "server_key"
    limits: Limits | None = None
    """What may be used by whoever shows this key; None: no bound of its own."""
