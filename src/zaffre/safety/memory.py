"""Memory: verdicts on what an application sends again and again, each for its owner alone."""

from collections import OrderedDict
from hashlib import blake2b

from zaffre.core.safety import Passage, Verdict

MAX_REMEMBERED = 4096
"""Verdicts; some 3 MB."""
_DIGEST_BYTES = 16


class VerdictMemory:
    """The verdicts that were used last, at most `size`. Keeps digests of passages, no text.

    Nothing is remembered of a passage without an owner; see `Passage.owner`.
    """

    def __init__(self, size: int = MAX_REMEMBERED) -> None:
        self._size = size
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()

    def recall(self, passage: Passage) -> Verdict | None:
        """What was found in `passage` for its owner before; None: it is not known any more."""
        if not passage.owner:
            return None
        key = _key(passage)
        verdict = self._verdicts.get(key)
        if verdict is not None:
            self._verdicts.move_to_end(key)
        return verdict

    def keep(self, passage: Passage, verdict: Verdict) -> None:
        """Remember `verdict` on `passage`, if it has an owner."""
        if not passage.owner:
            return
        self._verdicts[_key(passage)] = verdict
        if len(self._verdicts) > self._size:
            self._verdicts.popitem(last=False)


def _key(passage: Passage) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in (passage.owner, passage.source, passage.text):
        content = part.encode(errors="surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.digest()
