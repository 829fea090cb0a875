"""The control socket: for siblings alone."""

import asyncio
import json
from typing import Any

import pytest

from zaffre.asgi.exchange import JSON, Message, Receive, Scope, Send, send_whole
from zaffre.core.errors import EngineFailed
from zaffre.service.fleet import Fleet
from zaffre.service.runs import Bounds
from zaffre.service.siblings.control import ControlApp
from zaffre.service.siblings.leading import Leader, Siblings

KNOWN = "between us"


async def clients(scope: Scope, _receive: Receive, send: Send) -> None:
    """What clients are answered by: it says with which headers it was asked."""
    names = [name.decode() for name, _ in scope["headers"]]
    await send_whole(send, 200, [JSON], json.dumps(names).encode())


def nothing() -> Any:
    raise EngineFailed("There is no such model.")


async def ask(path: str, body: bytes = b"null", secret: str = KNOWN) -> tuple[int, Any]:
    fleet = Fleet(Bounds(), upstream_run=None, on_table=None)  # type: ignore[arg-type]
    app = ControlApp(fleet, Leader(fleet, Siblings()), nothing, clients, KNOWN)
    pieces, sent = [body], []

    async def receive() -> Message:
        if pieces:
            return {"type": "http.request", "body": pieces.pop()}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"api-key", b"k"), (b"x-zaffre-sibling", secret.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await app(scope, receive, send)
    await fleet.aclose()
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("path", ["/siblings/2.1/snapshot", "/admin/replicas", "/"])
@pytest.mark.parametrize("secret", ["", KNOWN[1:], KNOWN + "2"])
async def test_strangers_learn_nothing(path: str, secret: str):
    status, content = await ask(path, secret=secret)
    assert (status, content["error"]["message"]) == (404, "Not found.")


async def test_a_clients_request_goes_on_without_the_secret():
    assert await ask("/admin/replicas") == (200, ["api-key"])


async def test_a_report_is_taken():
    assert await ask("/siblings/2.1/report", b'{"applied":1,"held":[],"uses":{}}') == (200, None)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/siblings/2.1/nonsense", b"null", 404),
        ("/siblings/2.1/report", b'{"applied":"1"}', 400),
        ("/siblings/2.1/own", b"null", 500),
    ],
)
async def test_what_cannot_be_done_is_said(path: str, body: bytes, status: int):
    assert (await ask(path, body))[0] == status
