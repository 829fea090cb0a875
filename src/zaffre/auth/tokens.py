"""Tokens of Entra ID and other issuers: verified, and turned into principals."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from msgspec import Struct

from zaffre.auth.documents import DocumentFetcher
from zaffre.auth.issuer_keys import Fetch, IssuerKeys, VerificationKey
from zaffre.auth.jwt_form import MAX_SUBJECT, Claims, Jwt, TokenRefused, read_jwt
from zaffre.auth.token_rules import grants_of
from zaffre.config.auth_section import ALGORITHMS, TENANT, Algorithm, IssuerDeclaration
from zaffre.core.principals import Principal

_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
"""Of the header's `typ`: other kinds of signed documents are no access tokens."""
_VERIFIERS = {name: jwt.get_algorithm_by_name(name) for name in ALGORITHMS}
log = logging.getLogger("zaffre.auth")


class _Issuer(Struct, frozen=True):
    """An issuer at one address: a template has one of these per tenant."""

    declared: IssuerDeclaration
    tenants: frozenset[str]
    """In lower case. Empty: any."""
    audiences: frozenset[str]
    keys: IssuerKeys


class TokenVerifier:
    """Knows the callers that show a JWT. Use it inside one event loop.

    `fetcher_of` makes what fetches an issuer's documents; `clock` tells seconds since 1970, and
    `age_clock` how old keys are. Raises `ConfigurationError` for a `ca_file` that cannot be used.
    """

    def __init__(
        self,
        issuers: Sequence[IssuerDeclaration],
        *,
        fetcher_of: Callable[[IssuerDeclaration], Fetch] | None = None,
        clock: Callable[[], float] = time.time,
        age_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._issuers: dict[str, _Issuer] = {}
        for declared in issuers:
            fetch = (fetcher_of or _default_fetcher)(declared)
            for address in declared.addresses():
                keys = IssuerKeys(
                    address,
                    fetch,
                    jwks_url=declared.jwks_url,
                    max_age_s=declared.max_key_age_s,
                    clock=age_clock,
                )
                self._issuers[address] = _issuer(declared, address, keys)

    async def find(self, token: str) -> Principal | None:
        """Who calls with `token`; None when it is not valid.

        A valid token that no rule fits gives a principal without permissions. Raises
        `IssuerUnavailable` when the issuer's keys are not known and cannot be fetched.
        """
        try:
            return await self._verified(read_jwt(token))
        except TokenRefused as refused:
            log.info("A token was refused: %s", refused.reason)
            return None

    async def aclose(self) -> None:
        """End the fetches that are going on."""
        await asyncio.gather(*(issuer.keys.aclose() for issuer in self._issuers.values()))

    async def _verified(self, token: Jwt) -> Principal:
        header, claims = token.header, token.claims
        if (header.typ.lower() if header.typ else None) not in _TYPES:
            raise TokenRefused("type")
        if header.crit is not None:
            raise TokenRefused("critical extension")
        issuer = self._issuers.get(claims.iss)
        if issuer is None:
            raise TokenRefused("issuer")
        algorithm = next((a for a in issuer.declared.algorithms if a == header.alg), None)
        if algorithm is None:
            raise TokenRefused("algorithm")
        # All that costs nothing comes before the signature, and before a fetch above all.
        self._check_claims(issuer, claims)
        key = await issuer.keys.find(header.kid, algorithm)
        if key is None:
            raise TokenRefused("unknown key")
        if not _is_signed(token, key, algorithm):
            raise TokenRefused("signature")
        return _principal(issuer.declared, claims)

    def _check_claims(self, issuer: _Issuer, claims: Claims) -> None:
        now, skew_s = self._clock(), issuer.declared.clock_skew_s
        if issuer.tenants and (claims.tid or "").lower() not in issuer.tenants:
            raise TokenRefused("tenant")
        if not issuer.audiences.intersection(claims.audiences):
            raise TokenRefused("audience")
        if now >= claims.exp + skew_s:
            raise TokenRefused("expired")
        if any(time is not None and time > now + skew_s for time in (claims.nbf, claims.iat)):
            raise TokenRefused("not yet valid")
        if claims.cnf is not None:
            raise TokenRefused("bound to a key")
        for text in (_subject(issuer.declared, claims), claims.application):
            if len(text) > MAX_SUBJECT or not text.isprintable():
                raise TokenRefused("subject")
        if not _subject(issuer.declared, claims):
            raise TokenRefused("subject")


def _default_fetcher(declared: IssuerDeclaration) -> Fetch:
    return DocumentFetcher(declared.ca_file)


def _issuer(declared: IssuerDeclaration, address: str, keys: IssuerKeys) -> _Issuer:
    tenants = [t for t in declared.tenants if declared.issuer.replace(TENANT, t) == address]
    bare = [audience.rstrip("/") for audience in declared.audiences]
    return _Issuer(
        declared=declared,
        tenants=frozenset(tenant.lower() for tenant in tenants),
        audiences=frozenset(bare) | {f"{audience}/" for audience in bare},
        keys=keys,
    )


def _is_signed(token: Jwt, key: VerificationKey, algorithm: Algorithm) -> bool:
    try:
        return _VERIFIERS[algorithm].verify(token.signed, key.key, token.signature)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False


def _subject(declared: IssuerDeclaration, claims: Claims) -> str:
    return (claims.oid if declared.subject_claim == "oid" else claims.sub) or ""


def _principal(declared: IssuerDeclaration, claims: Claims) -> Principal:
    subject = _subject(declared, claims)
    first, *others = grants_of(declared.rules, claims, subject) or (None,)
    # An application that calls in its own name has no scopes; a user's are those of a user.
    name = claims.application if claims.application and not claims.scopes else subject
    identity = Principal(name=name, id=f"{declared.name}:{subject}", credential="aad_token")
    if first is None:
        return Principal(identity.name, identity.id, frozenset(), credential="aad_token")
    return Principal(
        name=identity.name,
        id=identity.id,
        permissions=first.permissions,
        endpoints=first.endpoints,
        models=first.models,
        operations=first.operations,
        also=tuple(grant for grant in others if grant is not None),
        credential="aad_token",
        limits=first.limits,
    )
