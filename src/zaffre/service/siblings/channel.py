"""The channel: a sibling's way to the first gateway process, over a Unix socket."""

from collections.abc import Iterable, Mapping

import aiohttp
from msgspec import Struct

from zaffre.core.errors import ModelUnavailable, ZaffreError
from zaffre.service.siblings.shapes import (
    POLL_S,
    PREFIX,
    SECRET_HEADER,
    Awaited,
    Report,
    Snapshot,
)
from zaffre.translation.errors import read_internal_error
from zaffre.upstream.transport import Transport, decode
from zaffre.wire import codec

MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024
TIMEOUT_S = 3 * POLL_S
HOST = "http://first"
_OWN_TO_EACH_HOP = (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding")


class Forwarded(Struct, frozen=True):
    """What the first process has answered to a client's request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Channel:
    """Speaks for the sibling `name`. Make it in the event loop. All raise `ZaffreError`."""

    def __init__(self, socket: str, secret: str, name: str) -> None:
        self._name = name
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket),
            headers={SECRET_HEADER: secret},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=TIMEOUT_S),
            auto_decompress=False,
        )
        self._transport = Transport(self._session, _refuse, timeout_s=TIMEOUT_S, strict_end=False)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def snapshot(self, after: int) -> Snapshot | None:
        """See `FirstProcess`."""
        content = await self._ask("snapshot", after)
        return decode(content, Snapshot | None)  # type: ignore[arg-type]

    async def report(self, report: Report) -> None:
        """See `FirstProcess`."""
        await self._ask("report", report)

    async def wake(self, awaited: Awaited) -> None:
        """See `FirstProcess`."""
        await self._ask("wake", awaited)

    async def own(self) -> Awaited:
        """See `FirstProcess`."""
        return decode(await self._ask("own", None), Awaited)

    async def forward(
        self, method: str, target: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> Forwarded:
        """Have a client's request answered there, however long it takes.

        `target` is path and query.
        """
        passed = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
            if name not in (*_OWN_TO_EACH_HOP, b"content-length")
        ]
        try:
            async with self._session.request(
                method,
                HOST + target,
                headers=passed,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                return Forwarded(answer.status, _kept(answer.raw_headers), await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable("The server is stopping. Please retry.") from error

    async def _ask(self, what: str, content: object) -> bytes:
        url = f"{HOST}{PREFIX}{self._name}/{what}"
        body = codec.encode(content)
        return await self._transport.fetch("POST", url, body, max_bytes=MAX_SNAPSHOT_BYTES)


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    lower = [(name.lower(), value) for name, value in headers]
    return [one for one in lower if one[0] not in (*_OWN_TO_EACH_HOP, b"content-length")]


def _refuse(status: int, _headers: Mapping[str, str], content: bytes) -> ZaffreError:
    return read_internal_error(status, content)
