"""What the configuration file says under `auth:`: keys, issuers, and who may do what."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import astuple

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import Operation
from zaffre.core.plan import Limits
from zaffre.core.principals import Grant, Permission

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""All of them with a public key: who can check a token must not be able to make one."""
ALGORITHMS: tuple[Algorithm, ...] = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
AUDIENCES = (
    "https://ml.azure.com",
    "https://cognitiveservices.azure.com",
    "https://ai.azure.com",
)
"""What Azure's clients ask tokens for, by their versions (contract, section 10)."""
TENANT = "{tenantid}"
"""Stands in an issuer's address for each of its tenants."""
MODEL = "{model}"
"""Stands in a role, scope or group for the model that it is about."""
MAX_EXPANDED_ISSUERS = 1000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What keys and issuers can be called."""


class GrantDeclaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Permissions and their bounds. No bound where a list is left out."""

    permissions: tuple[Permission, ...] = ("call",)
    endpoints: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    operations: tuple[Operation, ...] | None = None
    limits: Limits | None = None
    """What may be used by each who has this grant."""

    def grant(self, models: frozenset[str] | None = None) -> Grant:
        """The grant; `models` instead of the declared ones if given."""
        return Grant(
            permissions=frozenset(self.permissions),
            endpoints=_lower(self.endpoints),
            models=_lower(self.models) if models is None else models,
            operations=None if self.operations is None else frozenset(self.operations),
            limits=self.limits,
        )


class KeyDeclaration(GrantDeclaration, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that somebody else keeps: an orchestrator's secret, say."""

    name: str
    key_env: str | None = None
    """Environment variable that holds it."""
    key_file: str | None = None
    """File that holds it, and nothing else; relative to the configuration file."""


class RuleDeclaration(GrantDeclaration, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tokens of an issuer get a grant.

    A token must fit every list that is given, with one entry of each. Without any list, all of the
    issuer's tokens fit. `{model}` in a role, scope or group stands for the name of a model, and
    bounds the grant to the models so named.
    """

    roles: tuple[str, ...] = ()
    """Of the claim `roles`: Entra's app roles."""
    scopes: tuple[str, ...] = ()
    """Of the claim `scp` or `scope`: what a user let an application do."""
    groups: tuple[str, ...] = ()
    """Of the claim `groups`: with Entra their ids."""
    app_ids: tuple[str, ...] = ()
    """The application: `azp`, `appid` or `client_id`."""
    subjects: tuple[str, ...] = ()
    """The user or service: `sub`, or what `subject_claim` says."""


class IssuerDeclaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer of tokens that are believed."""

    name: str
    """For ledger, log and quotas: a caller's id is NAME:SUBJECT."""
    issuer: str
    """What its tokens have as `iss`, to the letter; `{tenantid}` for each of `tenants`."""
    rules: Annotated[tuple[RuleDeclaration, ...], Meta(min_length=1)]
    """Who may do what. A token that fits no rule is valid and may do nothing."""
    tenants: tuple[str, ...] = ()
    """The claim `tid` must be one of these. Empty: any, or none."""
    audiences: Annotated[tuple[str, ...], Meta(min_length=1)] = AUDIENCES
    """One of these must be in the claim `aud`; a slash at the end makes no difference."""
    jwks_url: str | None = None
    """Where its keys are; None: as its discovery document says."""
    ca_file: str | None = None
    """Certificate authority of its server, in PEM; None: the system's."""
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ALGORITHMS
    subject_claim: Literal["sub", "oid"] = "sub"
    """`oid` for Entra: there `sub` differs from application to application."""
    clock_skew_s: Annotated[int, Meta(ge=0, le=300)] = 60
    """How far its clock and ours may be apart."""
    max_key_age_s: Annotated[int, Meta(ge=60, le=30 * 24 * 3600)] = 24 * 3600
    """How long its keys are believed while it cannot be reached."""

    def addresses(self) -> list[str]:
        """Its addresses, with each tenant in its place."""
        if TENANT not in self.issuer:
            return [self.issuer]
        return [self.issuer.replace(TENANT, tenant) for tenant in self.tenants]


class AuthDeclaration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole section."""

    keys: tuple[KeyDeclaration, ...] = ()
    issuers: tuple[IssuerDeclaration, ...] = ()


def check_auth(declared: AuthDeclaration) -> None:
    """Raises `ConfigurationError` for what no issuer and no key can be."""
    for key in declared.keys:
        if not NAME.fullmatch(key.name):
            raise ConfigurationError(
                f"auth.keys: '{key.name}' cannot be a name; use letters, digits, . _ -"
            )
        if (key.key_env is None) == (key.key_file is None):
            raise ConfigurationError(f"auth.keys: '{key.name}' needs key_env or key_file.")
    rules = [rule for issuer in declared.issuers for rule in issuer.rules]
    for grant in (*declared.keys, *rules):
        if grant.limits is not None and min(_numbers(grant.limits), default=1) < 1:
            raise ConfigurationError("auth: a limit is at least 1.")
    for issuer in declared.issuers:
        _check_issuer(issuer)
    addresses = [address for issuer in declared.issuers for address in issuer.addresses()]
    if len(addresses) > MAX_EXPANDED_ISSUERS:
        raise ConfigurationError(f"auth.issuers: more than {MAX_EXPANDED_ISSUERS}.")
    _refuse_twins("keys", [key.name.lower() for key in declared.keys])
    _refuse_twins("issuers", [issuer.name.lower() for issuer in declared.issuers])
    _refuse_twins("issuers", addresses)


def _numbers(limits: Limits) -> list[int]:
    return [number for number in astuple(limits) if number is not None]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. Names other than localhost are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refuse_twins(what: str, texts: Sequence[str]) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise ConfigurationError(f"auth.{what}: '{text}' is declared twice.")
        seen.add(text)


def _check_issuer(issuer: IssuerDeclaration) -> None:
    where = f"auth.issuers: '{issuer.name}'"
    if not NAME.fullmatch(issuer.name):
        raise ConfigurationError(f"{where} cannot be a name; use letters, digits, . _ -")
    if TENANT in issuer.issuer and not issuer.tenants:
        raise ConfigurationError(f"{where}: {TENANT} needs the list 'tenants'.")
    for address in (*issuer.addresses(), issuer.jwks_url):
        if address is not None:
            check_address(address, where)
    for rule in issuer.rules:
        texts = (*rule.roles, *rule.scopes, *rule.groups)
        if any(MODEL in text for text in texts) and rule.models is not None:
            raise ConfigurationError(f"{where}: a rule with {MODEL} has no list of models.")
        if any(text.count(MODEL) > 1 for text in texts):
            raise ConfigurationError(f"{where}: {MODEL} stands once in a text.")


def check_address(address: str, where: str) -> None:
    """Raises `ConfigurationError` unless `address` is https, or http on this machine."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(f"{where}: '{address}' is no address.") from None
    plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise ConfigurationError(
            f"{where}: '{address}' must begin with https:// (http:// on this machine alone)."
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigurationError(f"{where}: '{address}' must not hold a password or fragment.")


def _lower(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(name.lower() for name in names)
