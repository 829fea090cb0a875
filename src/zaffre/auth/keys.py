"""API keys: made once, shown once, stored as a keyed hash."""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from zaffre.core.errors import Unauthenticated

KEY_PREFIX = "zaffre-"
KEY_BITS = 256
"""From the system's randomness."""
KEY_PATTERN = re.compile(r"zaffre-[0-9A-Za-z]{49}")
"""What scanners for secrets can look for: 43 random characters, and 6 of a checksum."""
_DIGITS = string.digits + string.ascii_letters
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
    random = _base62(secrets.randbits(KEY_BITS), 43)
    return KEY_PREFIX + random + _checksum(random)


def is_well_formed(text: str) -> bool:
    """Whether `text` could be one of our keys, and is not a placeholder or a typing error.

    For scanners; the server asks only whether it knows the key, which may be of an older form.
    """
    body = text.removeprefix(KEY_PREFIX)
    return KEY_PATTERN.fullmatch(text) is not None and _checksum(body[:43]) == body[43:]


def hash_key(name: str, key: str) -> HashedKey:
    """The hash to keep of `key`."""
    salt = secrets.token_hex(16)
    return HashedKey(name, salt, _digest(salt, key))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), 6)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))


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
