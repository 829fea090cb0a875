"""Bad heads and odd targets: nothing passes the key check, nothing hangs, refusals are JSON."""

import contextlib
import http.client
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import CHAT, INFO, Answer, Door, read_to_end

BODY = b'{"messages":[{"role":"user","content":"hi"}]}'
END = b"Connection: close\r\n\r\n"


def parsed(raw: bytes) -> Answer:
    """The one response in `raw`."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = tuple((name.lower(), value) for name, _, value in pairs)
    return Answer(int(first.split(" ")[1]), headers, body)


def request(method: str, target: str, *lines: str, key: str | None, body: bytes = b"") -> bytes:
    shown = [f"api-key: {key}"] if key is not None else []
    sized = [f"Content-Length: {len(body)}"] if body else []
    head = [
        f"{method} {target} HTTP/1.1",
        "Host: zaffre",
        *shown,
        *sized,
        *lines,
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


ODD_TARGETS = [
    "//info",
    "/info//",
    "/./info",
    "/health/../info",
    "/health/..%2finfo",
    "/health/%2e%2e/info",
    "/health%2f..%2finfo",
    "/%2e%2e/info",
    "/health;/../info",
    "/health;jsessionid=1",
    "/health%00",
    "/health%20",
    "/health%0a",
    "/health%0d%0aapi-key:%20x",
    "/health%3f/info",
    "/health#/info",
    "/health/",
    "/Health",
    "/HEALTH/replicas",
    "/info;x",
    "/info%00",
    "/info.json",
    "/v1/../info",
    "/\\info",
    "/%5cinfo",
    "/info%252f",
    "/%2finfo",
    "/%69nfo",
    "/inf%6F",
    "/chat%2Fcompletions",
    "/models/%2e%2e/openapi.json",
    "/openapi.json%00",
    "/health/replicas/",
    "/health//replicas",
    "/openai/deployments/../../health/chat/completions",
    "/openai/deployments//chat/completions",
    "/openai/deployments/%2e%2e/chat/completions",
    "http://zaffre/info",
    "http://zaffre/health/../info",
    "http://127.0.0.1:1/info",
    "https://user:pass@elsewhere/info",
    "http://zaffre//info",
    "*",
    "/" + "a" * 8000,
    "/?" + "&".join(f"a{i}=1" for i in range(5000)),
    "/info?" + "api-version=2024-05-01-preview&" * 300,
    "/%ff%fe",
    "/%zz",
    "/%",
]
UNKEYED = {"/health", "/health/"}


@pytest.mark.parametrize("target", ODD_TARGETS, ids=lambda target: target[:48])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_target_passes_without_the_key(many: Door, method: str, target: str):
    for key in (None, "wrong"):
        answer = parsed(many.talk(request(method, target, key=key)))
        # `#` ends a target; httptools reads what is before it, and so do we.
        if target.partition("#")[0] in UNKEYED:
            assert answer.status == (200 if method == "GET" else 405)
        else:
            assert answer.status in (400, 401), answer
        assert json.loads(answer.body)


@pytest.mark.parametrize("target", ODD_TARGETS, ids=lambda target: target[:48])
def test_any_target_is_answered_in_json_with_the_key(many: Door, target: str):
    answer = parsed(many.talk(request("GET", target, key=many.key)))
    assert answer.status in (200, 400, 404, 405), answer
    assert answer.header("content-type") == "application/json"
    assert json.loads(answer.body)


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
def test_a_wrong_method_says_which_is_right(many: Door, method: str):
    answer = many.call(method, CHAT)
    assert answer.status == 405
    assert answer.header("allow") == "POST"
    assert "POST" in answer.error["message"]


def test_a_wrong_method_on_a_reading_route_says_so_too(many: Door):
    for target in (INFO, "/models", "/openapi.json", "/health/replicas"):
        answer = many.post(target, {})
        assert answer.status == 405
        assert answer.header("allow") == "GET"
    assert many.post("/health", {}).header("allow") == "GET, HEAD"


@pytest.mark.parametrize("target", ["/health", INFO, CHAT, "/nothing"])
def test_head_has_no_body(many: Door, target: str):
    raw = many.talk(request("HEAD", target, key=many.key))
    assert raw.endswith(b"\r\n\r\n")
    assert parsed(raw).status in (200, 404, 405)
    assert parsed(raw).body == b""


def test_a_route_that_is_not_there_names_those_that_are(many: Door):
    for method in ("GET", "POST", "DELETE"):
        answer = many.call(method, "/v2/chat/completions")
        assert answer.status == 404
        assert answer.error["code"] == "not_found"
        assert "not found" in answer.error["message"]
        assert "/chat/completions" in answer.error["message"]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
        b"get /info HTTP/1.1\r\n\r\n",
        b"GET info HTTP/1.1\r\n\r\n",
        b"GET /in fo HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /info HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /info HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /info HTTP/1.1\r\na b: x\r\n\r\n",
        b"GET /info HTTP/1.1\r\na: \x00\r\n\r\n",
        b"GET /info HTTP/1.1\r\nHost: x\r\n folded\r\n\x01\r\n\r\n",
        b"POST /info HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /info HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /info HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /info HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /info HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"\x00" * 64,
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_what_is_not_http_is_refused_in_json(many: Door, sent: bytes):
    answer = parsed(many.talk(sent))
    assert answer.status == 400
    assert answer.error["code"] == "invalid_request"
    assert answer.header("connection") == "close"


@pytest.mark.parametrize(
    "lines",
    [
        ["x: " + "a" * 70_000],
        ["a" * 70_000 + ": x"],
        [f"x{number}: {'a' * 100}" for number in range(700)],
        [f"x{number}:" for number in range(9_000)],
    ],
    ids=["one value", "one name", "many", "very many"],
)
def test_a_head_that_is_too_large_is_refused(many: Door, lines: list[str]):
    answer = parsed(many.talk(request("GET", INFO, *lines, key=many.key)))
    assert answer.status == 431
    assert answer.error["code"] == "request_headers_too_large"


def test_a_head_that_does_not_end_is_refused_while_it_comes(many: Door):
    with contextlib.closing(many.connect()) as bare:
        bare.sendall(b"GET /info HTTP/1.1\r\nx: ")
        for _ in range(6):
            bare.sendall(b"a" * 16_384)
        assert parsed(read_to_end(bare)).status == 431


def test_a_large_head_with_a_large_body_is_taken(many: Door):
    """In one piece with its head, a body must not count as one."""
    lines = [f"x{number}: {'a' * 1000}" for number in range(50)]
    body = json.dumps({"messages": [{"role": "user", "content": "w" * 400_000}]}).encode()
    answer = parsed(many.talk(request("POST", CHAT, *lines, key=many.key, body=body)))
    assert answer.status == 200
    assert len(answer.body) > 400_000


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1:1", "zaffre\tx", "[::1]", "a@b/c?d"]
)
def test_the_host_decides_nothing(many: Door, host: str):
    for key, status in ((many.key, 200), (None, 401)):
        shown = f"api-key: {key}\r\n" if key else ""
        sent = f"GET {INFO} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: h\r\n{shown}".encode()
        assert parsed(many.talk(sent + END)).status == status
        assert (
            parsed(many.talk(sent.replace(b"Host: " + host.encode(), b"Via: x") + END)).status
            == status
        )


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"])
def test_no_header_changes_the_target(many: Door, name: str):
    raw = many.talk(request("GET", "/health", f"{name}: /health/replicas", key=None))
    assert parsed(raw).json == {"status": "ok"}
    raw = many.talk(request("GET", "/health/replicas", f"{name}: /health", key=None))
    assert parsed(raw).status == 401


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_an_upgrade_is_declined_by_answering_as_if_it_was_not_there(many: Door, upgrade: str):
    """Java's own client asks for h2c with its first request, body and all."""
    head = [
        f"POST {CHAT} HTTP/1.1",
        "Host: zaffre",
        "Connection: Upgrade, HTTP2-Settings",
        f"Upgrade: {upgrade}",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        f"api-key: {many.key}",
        f"Content-Length: {len(BODY)}",
    ]
    sent = "\r\n".join([*head, "", ""]).encode() + BODY
    with contextlib.closing(many.connect()) as bare:
        for _ in range(2):
            bare.sendall(sent)
            response = http.client.HTTPResponse(bare)
            response.begin()
            answered = json.loads(response.read())
            assert answered["choices"][0]["message"]["content"] == "hi"


def test_an_upgrade_whose_body_comes_later_is_declined_as_well(many: Door):
    head = request("POST", CHAT, "Connection: Upgrade", "Upgrade: h2c", key=many.key, body=BODY)
    with contextlib.closing(many.connect()) as bare:
        for piece in (head[:20], head[20:-30], head[-30:]):
            bare.sendall(piece)
        assert parsed(read_to_end(bare)).status == 200


def test_a_connection_serves_many_requests_one_after_the_other(many: Door):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", many.port)) as connection:
        for status, headers in ((401, {}), (200, {"api-key": many.key})) * 3:
            connection.request("POST", CHAT, BODY, headers)
            response = connection.getresponse()
            assert response.status == status
            response.read()


def test_of_pipelined_requests_the_first_is_answered(many: Door):
    """And the connection ends, so the client sends the others again (RFC 9112, section 9.3.2)."""
    one = f"GET {INFO} HTTP/1.1\r\nHost: x\r\napi-key: {many.key}\r\n\r\n".encode()
    for rest in (one, one * 100, b"garbage", b"\x00" * 100_000):
        answer = parsed(many.talk(one + rest))
        assert answer.status == 200
        assert answer.header("connection") == "close"
        assert answer.json["model_name"] == "echo"


def test_expecting_clients_hear_from_us_before_they_send(many: Door):
    head = request("POST", CHAT, "Expect: 100-continue", key=many.key, body=BODY)[: -len(BODY)]
    with contextlib.closing(many.connect()) as bare:
        bare.sendall(head)
        assert bare.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        bare.sendall(BODY)
        assert parsed(read_to_end(bare)).status == 200
    refused = request("POST", CHAT, "Expect: 100-continue", key=None, body=BODY)[: -len(BODY)]
    with contextlib.closing(many.connect()) as bare:
        bare.sendall(refused)
        assert bare.recv(100).startswith(b"HTTP/1.1 401 ")


@given(
    sent=st.binary(min_size=1, max_size=200),
    start=st.sampled_from([b"", b"GET /info HTTP/1.1\r\n"]),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_are_survived(many: Door, sent: bytes, start: bytes):
    raw = many.talk(start + sent + b"\r\n\r\n\r\n\r\n\x00\x00\r\n\r\n")
    assert parsed(raw).status in (400, 401)
    assert many.call("GET", "/health", key=None).status == 200
