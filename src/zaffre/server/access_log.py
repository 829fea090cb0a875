"""The access log: one JSON line per request, with the column names of Azure's traffic log.

Names as in Azure Monitor's table AmlOnlineEndpointTrafficLog, so that queries written for it go on
working. No prompt, no key and no query string is ever in it.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from msgspec import Struct

from zaffre.server.request import Request
from zaffre.wire import codec

STANDARD_ERROR = "-"
MAX_WAITING = 10_000
"""Lines that wait to be written; beyond them the oldest are dropped, and their number is told."""
MAX_TEXT = 256
"""Characters of a path, a name or a user agent, which are the client's."""
log = logging.getLogger("zaffre.access")


class Line(Struct, frozen=True, rename="pascal"):
    """One request."""

    time_generated: str
    method: str
    path: str
    endpoint_name: str
    deployment_name: str
    protocol: str
    response_code: int
    response_code_reason: str
    request_payload_size: int
    """Bytes."""
    response_payload_size: int
    """Bytes."""
    user_agent: str
    x_request_id: str
    x_ms_client_request_id: str = ""
    total_duration_ms: int = 0
    principal: str = ""
    """Not Azure's: the name of the key or token."""


def line_of(request: Request, status: int, size: int, began: float) -> Line:
    """The line of an answered request; `began` is on `time.monotonic`'s clock."""
    facts = request.account.facts
    return Line(
        time_generated=datetime.now(UTC).isoformat(timespec="milliseconds"),
        method=request.method,
        path=request.path[:MAX_TEXT],
        endpoint_name=str(facts.get("endpoint", request.endpoint or ""))[:MAX_TEXT],
        deployment_name=str(facts.get("deployment", ""))[:MAX_TEXT],
        protocol="HTTP/1.1",
        response_code=status,
        response_code_reason=_reason(status),
        request_payload_size=int(facts.get("bytes_in", 0)),
        response_payload_size=size,
        user_agent=(request.header(b"user-agent") or "")[:MAX_TEXT],
        x_request_id=request.id,
        x_ms_client_request_id=(request.header(b"x-ms-client-request-id") or "")[:MAX_TEXT],
        total_duration_ms=round((time.monotonic() - began) * 1000),
        principal=request.principal.name,
    )


class AccessLog:
    """Writes lines in the background, so that a slow disk never holds up an answer."""

    def __init__(self, place: str, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write or _writer(place)
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._writing: asyncio.Task[None] | None = None

    def put(self, line: Line) -> None:
        """Write `line` soon."""
        if len(self._lines) >= MAX_WAITING:
            self._lines.popleft()
            self._dropped += 1
        self._lines.append(line)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._drain())

    async def aclose(self) -> None:
        """Write what waits."""
        if self._writing is not None:
            await self._writing

    async def _drain(self) -> None:
        while self._lines:
            lines, self._lines = self._lines, deque()
            content = b"".join(codec.encode(line) + b"\n" for line in lines)
            try:
                await asyncio.to_thread(self._write, content)
            except OSError as error:
                log.warning("%d lines of the access log are lost: %s", len(lines), error.strerror)
            if self._dropped:
                log.warning("%d lines of the access log were dropped", self._dropped)
                self._dropped = 0


def _writer(place: str) -> Callable[[bytes], object]:
    if place == STANDARD_ERROR:
        return _to_standard_error

    def append(content: bytes) -> None:
        with Path(place).open("ab") as file:  # anew each time: it may have been rotated away
            file.write(content)

    return append


def _to_standard_error(content: bytes) -> None:
    sys.stderr.buffer.write(content)
    sys.stderr.flush()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
