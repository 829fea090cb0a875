"""Tokens for endpoints (`auth_mode: aml_token`): signed here, short-lived, good for one endpoint.

A token is `zaffre-token.CONTENT.SIGNATURE`, not a JWT: it has no header that could choose an
algorithm. The signature is an HMAC-SHA-256 under a key that is derived for the one endpoint and for
its present generation, so a token of another endpoint, or of an endpoint that was deleted and made
again, does not verify.
"""

import base64
import binascii
import hmac
import time
from collections.abc import Callable

from msgspec import Struct

from zaffre.auth.keybook import endpoint_grant
from zaffre.auth.keystore import KeyStore
from zaffre.core.errors import InvalidParameter
from zaffre.core.principals import Principal
from zaffre.wire import codec

TOKEN_PREFIX = "zaffre-token."  # noqa: S105 - how tokens begin
MAX_TOKEN_CHARACTERS = 2048
LIFETIME_S = 3600
MAX_LIFETIME_S = 12 * 3600
REFRESH_SHARE = 2 / 3
"""Of its lifetime, after which a client should ask for another token."""
MAX_NAME = 128


class EndpointToken(Struct, frozen=True):
    """A token that was issued just now. Times are seconds since 1970, UTC."""

    token: str
    expires_at: int
    refresh_after: int

    def __repr__(self) -> str:
        """Without the token: this ends up in logs."""
        return f"EndpointToken(expires_at={self.expires_at})"


class _Content(Struct, frozen=True, forbid_unknown_fields=True):
    endpoint: str
    id: str
    """Who asked for it: quotas and the ledger count by it."""
    name: str
    expires_at: int


class EndpointTokens:
    """Issues the tokens of all endpoints, and knows them again."""

    def __init__(self, keys: KeyStore, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def issue(self, endpoint: str, asker: Principal, lifetime_s: int = LIFETIME_S) -> EndpointToken:
        """A token with which `endpoint` can be called in the name of `asker`.

        The first one of an endpoint writes a file: call it in a thread where a loop must not wait.
        Raises `InvalidParameter` for a lifetime below 1 or above `MAX_LIFETIME_S`, `KeyFileError`.
        """
        if not 1 <= lifetime_s <= MAX_LIFETIME_S:
            raise InvalidParameter(
                ("lifetime_s",), lifetime_s, f"A token lives from 1 to {MAX_LIFETIME_S} seconds."
            )
        key = self._keys.make_token_key(endpoint)
        now = int(self._clock())
        name = asker.name[:MAX_NAME]
        content = _Content(endpoint.lower(), asker.id[:MAX_NAME], name, now + lifetime_s)
        signed = _encode(codec.encode(content))
        return EndpointToken(
            token=f"{TOKEN_PREFIX}{signed}.{_encode(_signature(key, signed))}",
            expires_at=now + lifetime_s,
            refresh_after=now + int(lifetime_s * REFRESH_SHARE),
        )

    def find(self, token: str) -> Principal | None:
        """Who calls with `token`; None when it is not valid, or not any more."""
        if not token.startswith(TOKEN_PREFIX) or len(token) > MAX_TOKEN_CHARACTERS:
            return None
        signed, _, signature = token.removeprefix(TOKEN_PREFIX).partition(".")
        try:
            content = codec.decode(_decode(signed), _Content)
            shown = _decode(signature)
        except (codec.MalformedError, binascii.Error, ValueError):
            return None
        key = self._keys.token_key(content.endpoint)
        if key is None or not hmac.compare_digest(_signature(key, signed), shown):
            return None
        if self._clock() >= content.expires_at:
            return None
        return Principal(
            name=content.name,
            id=content.id,
            permissions=endpoint_grant(content.endpoint).permissions,
            endpoints=endpoint_grant(content.endpoint).endpoints,
            credential="aml_token",
        )


def _signature(key: bytes, signed: str) -> bytes:
    return hmac.digest(key, f"{TOKEN_PREFIX}{signed}".encode(), "sha256")


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(content) != text:  # one token, one text
        raise ValueError(text)
    return content
