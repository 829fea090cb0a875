"""The form of a JWT, read strictly and before anything of it is believed."""

import base64
import binascii
import json
import math
from typing import Any, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Struct

MAX_TOKEN_CHARACTERS = 16 * 1024
"""Entra's, with two hundred groups, have about 9,000."""
MAX_SUBJECT = 255
"""Characters (OpenID Connect Core, section 2)."""
Kind = TypeVar("Kind", "JwtHeader", "Claims")

Refusal = Literal[
    "size",
    "form",
    "duplicate name",
    "type",
    "critical extension",
    "algorithm",
    "issuer",
    "tenant",
    "audience",
    "expired",
    "not yet valid",
    "subject",
    "bound to a key",
    "unknown key",
    "signature",
]
"""Why a token is not valid: for the log, never for whoever shows it."""


class TokenRefused(Exception):
    """The token is not valid."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


class JwtHeader(Struct, frozen=True):
    """What we read of a header. Keys and addresses in it (`jwk`, `jku`, `x5c`, `x5u`) are not
    read: some issuers send them, and whoever forges a token chooses them."""

    alg: str
    kid: str
    typ: str | None = None
    crit: Any = None


class Claims(Struct, frozen=True):
    """What we read of the claims. Times are seconds since 1970, UTC."""

    iss: str
    aud: str | list[str]
    exp: int | float
    nbf: int | float | None = None
    iat: int | float | None = None
    sub: str | None = None
    oid: str | None = None
    tid: str | None = None
    azp: str | None = None
    appid: str | None = None
    client_id: str | None = None
    roles: str | list[str] = []
    groups: str | list[str] = []
    scp: str | list[str] = []
    scope: str | list[str] = []
    cnf: Any = None
    """Of a token that only the holder of a certain key may show."""

    @property
    def audiences(self) -> list[str]:
        """For whom it is."""
        return [self.aud] if isinstance(self.aud, str) else self.aud

    @property
    def scopes(self) -> list[str]:
        """What a user let an application do; words with spaces between, where it is one text."""
        found = self.scp or self.scope
        return found.split() if isinstance(found, str) else found

    @property
    def application(self) -> str:
        """Who asked for it; empty where the issuer does not say."""
        return self.azp or self.appid or self.client_id or ""


class Jwt(Struct, frozen=True):
    """A token's parts. Nothing is verified yet."""

    header: JwtHeader
    claims: Claims
    signed: bytes
    signature: bytes


def read_jwt(text: str) -> Jwt:
    """The parts of a signed token. Raises `TokenRefused`."""
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise TokenRefused("size")
    parts = text.split(".")
    if len(parts) != 3 or not all(parts):  # five would be an encrypted one
        raise TokenRefused("form")
    header, claims, signature = (_decode(part) for part in parts)
    return Jwt(
        header=_read(header, JwtHeader),
        claims=_checked(_read(claims, Claims)),
        signed=text.rpartition(".")[0].encode(),
        signature=signature,
    )


def _checked(claims: Claims) -> Claims:
    times = (claims.exp, claims.nbf, claims.iat)
    if not all(time is None or math.isfinite(time) for time in times):
        raise TokenRefused("form")
    return claims


def _decode(part: str) -> bytes:
    try:
        content = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenRefused("form") from None
    # One token, one text: the alphabet of plain base64 and stray bits are refused.
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != part:
        raise TokenRefused("form")
    return content


def _read(content: bytes, kind: type[Kind]) -> Kind:
    # Not wire/codec: of a name that comes twice it takes the last, and others take the first.
    try:
        document = json.loads(
            content.decode(), object_pairs_hook=_unique, parse_constant=_no_number
        )
        return msgspec.convert(document, kind)
    except (ValueError, RecursionError):
        raise TokenRefused("form") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise TokenRefused("duplicate name")
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)
