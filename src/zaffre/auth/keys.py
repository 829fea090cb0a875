"""The text of keys: made so that people, and scanners for secrets, recognise one."""

import re
import secrets
import string
import zlib

KEY_PREFIX = "zaffre-"
KEY_BITS = 256
"""From the system's randomness."""
KEY_PATTERN = re.compile(r"zaffre-[0-9A-Za-z]{49}")
"""What scanners can look for: 43 random characters, and 6 of a checksum."""
MAX_KEY_CHARACTERS = 512
"""Longer credentials (many a JWT is one) are not keys; they are not even hashed."""
_DIGITS = string.digits + string.ascii_letters


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


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), 6)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))
