"""Control: the first gateway process's answers to its siblings, on a Unix socket of their own.

| POST /siblings/NAME/… | takes | answers |
|---|---|---|
| snapshot | a version | `Snapshot` of a later one, or null after `POLL_S` |
| report | `Report` | null |
| wake | `Awaited` | null |
| own | null | `Awaited`: the server's own deployment for content safety |

Whatever else is asked is a client's request that a sibling passes on.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from zaffre.asgi.exchange import (
    JSON,
    ClientDisconnectedError,
    Receive,
    Scope,
    Send,
    read_body,
    run_until_disconnect,
    send_whole,
)
from zaffre.core.errors import InvalidRequest, NotFound, ZaffreError
from zaffre.routing.deployments import Deployment
from zaffre.service.fleet import OWN, Fleet
from zaffre.service.siblings.leading import Leader
from zaffre.service.siblings.shapes import POLL_S, PREFIX, SECRET_HEADER, Awaited, Report
from zaffre.translation.errors import write_internal_error
from zaffre.wire import codec

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A report names what is in use: this bounds mistakes."""
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
log = logging.getLogger("zaffre.siblings")


class ControlApp:
    """ASGI application for siblings that know `secret`.

    `own` makes the deployment that content safety asks for vectors, or finds it; `clients` is the
    application that clients are answered by.
    """

    def __init__(
        self,
        fleet: Fleet,
        leader: Leader,
        own: Callable[[], Deployment],
        clients: Application,
        secret: str,
    ) -> None:
        self._fleet = fleet
        self._leader = leader
        self._own = own
        self._clients = clients
        self._secret = secret.encode()
        self._answers: dict[str, Callable[[str, bytes], Awaitable[object]]] = {
            "snapshot": self._snapshot,
            "report": self._report,
            "wake": self._wake,
            "own": self._own_deployment,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; strangers learn nothing."""
        if scope["type"] != "http":
            return
        header = SECRET_HEADER.encode()
        shown = next((value for name, value in scope["headers"] if name == header), b"")
        if not hmac.compare_digest(shown, self._secret):
            await _send_error(send, NotFound("Not found."))
            return
        if not scope["path"].startswith(PREFIX):
            headers = [(name, value) for name, value in scope["headers"] if name != header]
            await self._clients({**scope, "headers": headers}, receive, send)
            return
        try:
            content = await read_body(receive, MAX_BODY_BYTES)
            await run_until_disconnect(receive, self._answer(scope["path"], content, send))
        except ClientDisconnectedError:
            pass

    async def _answer(self, path: str, content: bytes, send: Send) -> None:
        name, _, what = path.removeprefix(PREFIX).partition("/")
        try:
            if what not in self._answers:
                raise NotFound("Not found.")
            answer = await self._answers[what](name, content)
        except ZaffreError as error:
            await _send_error(send, error)
            return
        except codec.MalformedError as malformed:  # a sibling of another version of this program
            await _send_error(send, InvalidRequest(malformed.message))
            return
        await send_whole(send, 200, [JSON], codec.encode(answer))

    async def _snapshot(self, name: str, content: bytes) -> Any:  # noqa: ANN401 - null or a struct
        try:
            async with asyncio.timeout(POLL_S):
                return await self._leader.snapshot(name, codec.decode(content, int))
        except TimeoutError:
            return None

    async def _report(self, name: str, content: bytes) -> None:
        self._leader.take(name, codec.decode(content, Report))

    async def _wake(self, _name: str, content: bytes) -> None:
        awaited = codec.decode(content, Awaited)
        self._fleet.wake((awaited.endpoint, awaited.name))

    async def _own_deployment(self, _name: str, _content: bytes) -> Awaited:
        _, name = self._own().plan.key
        return Awaited(OWN, name, self._fleet.version)


async def _send_error(send: Send, error: ZaffreError) -> None:
    status, body = write_internal_error(error)
    await send_whole(send, status, [JSON], codec.encode(body))
