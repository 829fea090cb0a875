"""Traffic: whose turn it is, as a pure function of the shares and one point between 0 and 1."""

import hashlib
from collections.abc import Mapping

SESSION_POINTS = 2**64


def pick(traffic: Mapping[str, int], point: float) -> str | None:
    """The deployment that `point`, in [0, 1), falls on; None when no share is positive.

    Shares are laid end to end in the order of their declaration, so a deployment of `p` percent
    gets `p` percent of evenly drawn points exactly.
    """
    total = sum(share for share in traffic.values() if share > 0)
    if total == 0:
        return None
    reached = 0
    chosen = None
    for name, share in traffic.items():
        if share <= 0:
            continue
        reached, chosen = reached + share, name
        if point * total < reached:
            break
    return chosen


def session_point(session: str) -> float:
    """The point of a session: the same for the same text, on every gateway and after restarts."""
    digest = hashlib.blake2b(session.encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (SESSION_POINTS >> 11)
