"""The access log: a line per request with Azure's columns, and nothing that is anybody's secret."""

import json
import threading

from in_process import CHAT, KEY, Exchange, OpenDoor, platform_of, speaking

from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.server.access_log import MAX_WAITING, AccessLog, line_of
from zaffre.server.app import GatewayApp, Options
from zaffre.server.request import read_request

GATEWAY = speaking(TextDelta("secret answer"), Finish("stop"), Usage(1, 1))


async def logged(*exchanges: Exchange) -> tuple[list[dict[str, object]], bytes]:
    written: list[bytes] = []
    access_log = AccessLog("-", written.append)
    options = Options(max_body_bytes=1000)
    app = GatewayApp(GATEWAY, OpenDoor(), platform_of(), options, access_log)
    for exchange in exchanges:
        await app(exchange.scope, exchange.receive_whole, exchange.send)
    await access_log.aclose()
    content = b"".join(written)
    return [json.loads(line) for line in content.splitlines()], content


async def test_a_request_is_a_line():
    (line,), content = await logged(
        Exchange("POST", "/chat/completions?api-version=2024-05-01-preview", CHAT, user_agent="me")
    )
    assert line["Method"] == "POST"
    assert line["Path"] == "/chat/completions"
    assert line["ResponseCode"] == 200
    assert line["ResponseCodeReason"] == "OK"
    assert line["DeploymentName"] == "m"
    assert line["RequestPayloadSize"] == len(CHAT)
    assert line["ResponsePayloadSize"] > 0
    assert line["UserAgent"] == "me"
    assert line["Principal"] == "test"
    for secret in (b"secret answer", KEY, b"hi"):
        assert secret not in content.replace(b"chat", b"")


async def test_refusals_have_lines_too():
    lines, _ = await logged(
        Exchange("POST", "/chat/completions", b"{"), Exchange("GET", "/nowhere")
    )
    assert [line["ResponseCode"] for line in lines] == [400, 404]


async def test_lines_are_dropped_rather_than_memory():
    """Given a disk that does not answer, when lines come, then no more than so many wait."""
    free, written = threading.Event(), []

    def write(content: bytes) -> None:
        free.wait()
        written.append(content)

    access_log = AccessLog("-", write)
    account = GATEWAY.new_account("an-id")
    request = read_request(Exchange("GET", "/health").scope, "an-id", account)
    line = line_of(request, 200, 0, 0.0)
    for _ in range(MAX_WAITING + 10):
        access_log.put(line)
    free.set()
    await access_log.aclose()
    assert sum(content.count(b"\n") for content in written) == MAX_WAITING
