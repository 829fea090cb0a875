"""An issuer's public keys: fetched from where the configuration says, kept, and renewed."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.exceptions import InvalidKeyError
from msgspec import Struct

from zaffre.config.auth_section import Algorithm, check_address
from zaffre.config.settings import ConfigurationError
from zaffre.core.errors import IssuerUnavailable
from zaffre.wire import codec

REFRESH_AFTER_S = 3600.0
"""Age at which keys are fetched again, while the old ones go on being used."""
REFRESH_PAUSE_S = 10.0
"""Least time between two fetches, whatever key ids come in."""
MIN_RSA_BITS = 2048
MAX_KEYS = 200
log = logging.getLogger("zaffre.auth")

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Fetch = Callable[[str], Awaitable[bytes]]
"""The content of a document. Raises `FetchFailed`."""

_RSA: frozenset[Algorithm] = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: dict[str, Algorithm] = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class FetchFailed(Exception):
    """A document did not come; the text says why."""


class VerificationKey(Struct, frozen=True):
    """A public key, and the algorithms that it is for."""

    key: PublicKey
    algorithms: frozenset[Algorithm]


class _Discovery(Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _Jwk(Struct, frozen=True):
    kty: str
    kid: str = ""
    use: str = "sig"
    alg: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


class _JwkSet(Struct, frozen=True):
    keys: list[dict[str, Any]]


class IssuerKeys:
    """The keys of the issuer at `address`. Use it inside one event loop."""

    def __init__(
        self,
        address: str,
        fetch: Fetch,
        *,
        jwks_url: str | None = None,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._fetch = fetch
        self._jwks_url = jwks_url
        self._max_age_s = max_age_s
        self._clock = clock
        self._keys: dict[str, list[VerificationKey]] = {}
        self._fetched_at: float | None = None
        self._next_fetch = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str, algorithm: Algorithm) -> VerificationKey | None:
        """The key of this id for this algorithm; None when the issuer has none.

        Raises `IssuerUnavailable` when its keys are not known, or too old.
        """
        if kid not in self._keys or not self._younger_than(self._max_age_s):
            await self._refresh()
        elif not self._younger_than(REFRESH_AFTER_S):
            self._start()
        if not self._younger_than(self._max_age_s):
            raise IssuerUnavailable
        fitting = (key for key in self._keys.get(kid, ()) if algorithm in key.algorithms)
        return next(fitting, None)

    async def aclose(self) -> None:
        """End a fetch that is going on."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _younger_than(self, age_s: float) -> bool:
        return self._fetched_at is not None and self._clock() - self._fetched_at <= age_s

    async def _refresh(self) -> None:
        self._start()
        if self._fetching is not None:
            # Shielded: the fetch is everybody's, whoever of those that wait for it goes away.
            await asyncio.shield(self._fetching)

    def _start(self) -> None:
        """Begin a fetch, unless one is going on or was a moment ago."""
        now = self._clock()
        if self._fetching is None and now >= self._next_fetch:
            self._next_fetch = now + REFRESH_PAUSE_S
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_keys())
            self._fetching.add_done_callback(self._fetched)

    def _fetched(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch_keys(self) -> None:
        try:
            url = self._jwks_url or await self._discover()
            keys = _read_keys(await self._fetch(url))
        except FetchFailed as failed:
            log.warning("The keys of %s cannot be fetched: %s", self._address, failed)
        except codec.MalformedError as malformed:
            log.warning("The keys of %s cannot be read: %s", self._address, malformed.message)
        else:
            self._keys, self._fetched_at = keys, self._clock()

    async def _discover(self) -> str:
        """Where the issuer says that its keys are."""
        url = f"{self._address.rstrip('/')}/.well-known/openid-configuration"
        found = codec.decode(await self._fetch(url), _Discovery)
        if found.issuer != self._address:
            raise FetchFailed(f"{url} is about the issuer {found.issuer!r:.200}")
        try:
            check_address(found.jwks_uri, url)
        except ConfigurationError as error:
            raise FetchFailed(error.message) from None
        return found.jwks_uri


def _read_keys(content: bytes) -> dict[str, list[VerificationKey]]:
    """The usable keys of a key set, by id. Raises `MalformedError`."""
    keys: dict[str, list[VerificationKey]] = {}
    for document in codec.decode(content, _JwkSet).keys[:MAX_KEYS]:
        try:
            jwk = codec.decode(codec.encode(document), _Jwk)
            key = _verification_key(jwk)
        except (codec.MalformedError, InvalidKeyError, ValueError):
            continue  # of a kind that we do not know: others may be fine
        if key is not None:
            keys.setdefault(jwk.kid, []).append(key)
    return keys


def _verification_key(jwk: _Jwk) -> VerificationKey | None:
    """The public key of `jwk`; None for one that is not for signatures we take."""
    if not jwk.kid or jwk.use != "sig":
        return None
    found: Any = None  # the library says "public or private"; only public members are handed to it
    algorithms: frozenset[Algorithm] = frozenset()
    match jwk.kty:
        case "RSA":
            found = jwt.algorithms.RSAAlgorithm.from_jwk({"kty": "RSA", "n": jwk.n, "e": jwk.e})
            algorithms = _RSA if found.key_size >= MIN_RSA_BITS else frozenset()
        case "EC":
            members = {"kty": "EC", "crv": jwk.crv, "x": jwk.x, "y": jwk.y}
            found = jwt.algorithms.ECAlgorithm.from_jwk(members)
            algorithms = frozenset(a for c, a in _CURVES.items() if c == found.curve.name)
        case "OKP" if jwk.crv == "Ed25519":
            members = {"kty": "OKP", "crv": jwk.crv, "x": jwk.x}
            found = jwt.algorithms.OKPAlgorithm.from_jwk(members)
            algorithms = frozenset({"EdDSA"})
        case _:
            return None  # among them the symmetric ones, which no issuer should publish
    if jwk.alg is not None:
        algorithms = frozenset(a for a in algorithms if a == jwk.alg)
    return VerificationKey(found, algorithms) if algorithms else None
