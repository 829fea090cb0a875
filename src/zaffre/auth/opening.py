"""Opening the door: when a server may do without keys, and the words for it."""

from zaffre.config.auth_section import is_loopback
from zaffre.config.settings import ConfigurationError
from zaffre.core.principals import Principal

WORDS = "i understand that anyone can call"
"""What `allow_no_key` must say before a server lets everybody in at any address."""
LOOPBACK = "loopback"
"""What it says to let in whoever is on this machine."""
ANYBODY = Principal("anybody", "anybody")
"""Whoever calls a server that needs no key: may call models, and nothing else."""


def anybody(host: str, allow_no_key: str) -> Principal | None:
    """Who calls without a valid key; None, the rule, when nobody may.

    `host` is the address that the server will listen on. Raises `ConfigurationError` when
    `allow_no_key` does not say what it must for that address.
    """
    said = allow_no_key.strip().lower()
    if not said:
        return None
    if said == WORDS or (said == LOOPBACK and is_loopback(host)):
        return ANYBODY
    if said == LOOPBACK:
        raise ConfigurationError(
            f"allow_no_key: {LOOPBACK} does not go with the address {host}, which others can"
            f' reach. Remove it, or say: allow_no_key: "{WORDS}"'
        )
    raise ConfigurationError(f'allow_no_key: say {LOOPBACK}, or "{WORDS}", or leave it out.')
