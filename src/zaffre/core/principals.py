"""Principals: who calls, and what they may do."""

from typing import Literal

from msgspec import Struct

from zaffre.core.calls import Operation

Permission = Literal["call", "admin", "read_usage"]
"""`call` models, `admin`ister endpoints, deployments and keys, `read_usage` of everybody."""


class Principal(Struct, frozen=True):
    """Who calls, with all that was granted. None in a scope means: no bound."""

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
