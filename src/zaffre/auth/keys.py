"""API keys: made once, shown once, stored as a keyed hash."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from zaffre.core.errors import Unauthenticated

KEY_BYTES = 32
"""256 bits from the system's randomness."""
MAX_KEY_CHARACTERS = 512
"""Longer credentials (a JWT is one) are not keys; they are not even hashed."""


class HashedKey(Struct, frozen=True):
    """What is kept of a key: an HMAC-SHA-256 of it under a random salt, both in hex."""

    name: str
    salt: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

    def matches(self, key: str) -> bool:
        """Whether this is the hash of `key`; takes the same time either way."""
        return hmac.compare_digest(self.digest, _digest(self.salt, key))


class Principal(Struct, frozen=True):
    """Who calls."""

    name: str


def new_key() -> str:
    """A fresh key. Nothing but its owner will know it."""
    return "zaffre-" + secrets.token_urlsafe(KEY_BYTES)


def hash_key(name: str, key: str) -> HashedKey:
    """The hash to keep of `key`."""
    salt = secrets.token_hex(16)
    return HashedKey(name, salt, _digest(salt, key))


def _digest(salt: str, key: str) -> str:
    # A fast hash is enough: there is nothing to guess in 256 random bits.
    return hmac.new(bytes.fromhex(salt), key.encode(), hashlib.sha256).hexdigest()


class KeyChain:
    """Identifies callers by `api-key` or `Authorization: Bearer`, each judged on its own."""

    def __init__(self, keys: Iterable[HashedKey]) -> None:
        self._keys = tuple(keys)

    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whoever shows a valid key in either header. Raises `Unauthenticated`."""
        for name, value in headers:
            if name == b"api-key":
                candidate = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                candidate = value[7:]
            else:
                continue
            principal = self._owner(candidate.decode("latin-1").strip())
            if principal is not None:
                return principal
        raise Unauthenticated

    def _owner(self, candidate: str) -> Principal | None:
        if not candidate or len(candidate) > MAX_KEY_CHARACTERS:
            return None
        for key in self._keys:
            if key.matches(candidate):
                return Principal(key.name)
        return None
