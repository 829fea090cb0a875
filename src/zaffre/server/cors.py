"""Cross-origin requests: refused by browsers unless origins are configured, as on Azure."""

from collections.abc import Sequence

from zaffre.asgi.exchange import Send, send_whole
from zaffre.server.request import Request

ANY = "*"
PREFLIGHT_AGE_S = 600
Headers = list[tuple[bytes, bytes]]


class Cors:
    """Lets pages of some origins read answers; with none, no header says anything about it."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def headers(self, request: Request) -> Headers:
        """What an answer to `request` says to a browser."""
        origin = request.header(b"origin")
        if origin is None or not self._allows(origin):
            return []
        shown = ANY if ANY in self._origins else origin
        return [
            (b"access-control-allow-origin", shown.encode("latin-1")),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]

    def is_preflight(self, request: Request) -> bool:
        """Whether a browser asks what it may ask. It has no key then, and learns nothing else."""
        return (
            bool(self._origins)
            and request.method == "OPTIONS"
            and request.header(b"access-control-request-method") is not None
        )

    async def answer(self, request: Request, send: Send) -> None:
        """Answer a preflight."""
        allowed = self.headers(request)
        if allowed:
            asked = request.header(b"access-control-request-headers") or ""
            allowed += [
                (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE"),
                (b"access-control-allow-headers", asked.encode("latin-1")),
                (b"access-control-max-age", str(PREFLIGHT_AGE_S).encode()),
            ]
        await send_whole(send, 204, allowed, b"")

    def _allows(self, origin: str) -> bool:
        return ANY in self._origins or origin.rstrip("/").lower() in self._origins
