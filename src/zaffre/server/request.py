"""A request as the dialects see it, after the door has been passed."""

import re
from urllib.parse import parse_qs

from msgspec import Struct

from zaffre.asgi.exchange import Scope
from zaffre.core.accounts import Account
from zaffre.core.context import Context
from zaffre.core.principals import Principal

_ECHOABLE = re.compile(rb"[\x21-\x7e]{1,256}")
NOBODY = Principal("nobody", permissions=frozenset())
MAX_QUERY_FIELDS = 100
"""What comes after these is not read."""


class Request(Struct, frozen=True, kw_only=True):
    """Method, path, query and headers; `id` is ours and goes into every answer and log line."""

    id: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[bytes, bytes]
    """Names in lower case; of a repeated header the first value."""
    path_name: str | None = None
    """The deployment or model that the path names."""
    endpoint: str | None = None
    """The endpoint that the path or the host name names; `path` is what comes behind it."""
    principal: Principal = NOBODY
    """Who calls, once the door has been passed."""
    account: Account

    def context(self, dialect: str, *, stream: bool = False) -> Context:
        """What the service needs to know besides the call."""
        return Context(self.id, self.principal, self.account, dialect, stream)

    def header(self, name: bytes) -> str | None:
        """A header's value, without surrounding white space; None when absent or empty."""
        return self.headers.get(name, b"").decode("latin-1").strip() or None

    def parameter(self, name: str) -> str | None:
        """A query parameter's first value that is not empty (contract, section 3.2: doubled)."""
        return next((value for value in self.query.get(name, ()) if value), None)

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that every answer carries (contract, section 8.3)."""
        own = self.id.encode()
        headers = [
            (b"x-request-id", own),
            (b"apim-request-id", own),
            (b"x-content-type-options", b"nosniff"),
        ]
        client = self.headers.get(b"x-ms-client-request-id", b"")
        if _ECHOABLE.fullmatch(client):
            headers.append((b"x-ms-client-request-id", client))
        return headers


def read_request(scope: Scope, request_id: str, account: Account) -> Request:
    """The request in an ASGI scope. A trailing slash means nothing."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, value)
    path = scope["path"]
    query = scope["query_string"].decode("latin-1")
    fields = "&".join(query.split("&", MAX_QUERY_FIELDS)[:MAX_QUERY_FIELDS])
    return Request(
        id=request_id,
        account=account,
        method=scope["method"],
        path=path.rstrip("/") or "/",
        query=parse_qs(fields, keep_blank_values=True) if fields else {},
        headers=headers,
    )
