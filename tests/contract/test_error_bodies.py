"""Errors: bodies, headers and ids (section 8; checklist rows 24, 25, 41 to 43)."""

import re
from collections.abc import Callable

import pytest
from raw_http import CHAT, EMBEDDINGS, INFO, Answer, Door, read_to_end

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
Cause = Callable[[Door], Answer]
CAUSES: dict[str, tuple[int, str, Cause]] = {
    "not JSON": (400, "invalid_request", lambda door: door.post(CHAT, b"{")),
    "a wrong value": (400, "invalid_parameter", lambda door: door.chat(stop="")),
    "an extra": (400, "extra_parameters_not_allowed", lambda door: door.chat(foo=1)),
    "too long": (400, "context_length_exceeded", lambda door: door.chat("w " * 5000)),
    "a strange model": (400, "unknown_model", lambda door: door.chat(model="gpt-4")),
    "no key": (401, "unauthenticated", lambda door: door.call("GET", INFO, key=None)),
    "a lacking modality": (404, "operation_not_found", lambda door: door.chat(model="embedder")),
    "no route": (404, "not_found", lambda door: door.get("/nothing")),
    "a wrong method": (405, "method_not_allowed", lambda door: door.get(CHAT)),
    "too large": (413, "request_too_large", lambda door: door.post(CHAT, b" " * 5_000_000)),
    "unsupported": (
        422,
        "parameter_not_supported",
        lambda door: door.post(EMBEDDINGS, {"input": [1]}),
    ),
    "out of range": (422, "parameter_not_supported", lambda door: door.chat(temperature=9)),
    "a broken engine": (500, "engine_failed", lambda door: door.chat("/fail")),
}
every_cause = pytest.mark.parametrize(
    ("status", "code", "cause"), CAUSES.values(), ids=CAUSES.keys()
)


@every_cause
def test_every_refusal_has_one_body(many: Door, status: int, code: str, cause: Cause):
    answer = cause(many)
    assert answer.status == status
    body = answer.error
    assert body["code"] == code
    names = ["error", "status", "code", "message", "detail"]
    assert list(body) == (names if status != 401 else [*names, "statusCode"])
    assert list(body["error"]) == ["code", "message", "status"]
    assert isinstance(body["detail"], str if code.startswith("extra") else list)


@every_cause
def test_nothing_of_ours_leaks_into_it(many: Door, status: int, code: str, cause: Cause):
    text = cause(many).body.decode()
    for secret in (many.key, "Traceback", ".py", ".yaml", "zaffre-", "sock", "worker"):
        assert secret not in text, (status, code)


@every_cause
def test_every_refusal_has_the_headers_of_an_answer(
    many: Door, status: int, code: str, cause: Cause
):
    answer = cause(many)
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("retry-after") is None, (status, code)
    assert answer.header("server") is None


def test_a_body_above_the_limit_is_refused_before_it_is_there(many: Door):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {many.key}\r\nContent-Length: "
    with many.connect() as bare:
        bare.sendall(f"{head}{4 * 1024 * 1024 + 1}\r\n\r\n".encode())
        assert bare.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_above_the_limit_is_refused_when_it_does_not_say_so(many: Door):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {many.key}\r\n"
    piece = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
    with many.connect() as bare:
        bare.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(5):
            bare.sendall(piece)
        assert bare.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_many_small_pieces_is_taken(many: Door):
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\napi-key: {many.key}\r\nConnection: close\r\n"
    chunks = b"".join(b"1;a=b\r\n" + bytes([byte]) + b"\r\n" for byte in body)
    trailers = b"0\r\nx-checksum: 1\r\napi-key: other\r\n\r\n"
    raw = many.talk(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + trailers)
    assert raw.startswith(b"HTTP/1.1 200 ")


def test_trailers_do_not_grow_without_bound(many: Door):
    """Not even for strangers, who have their answer long since."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: "
    with many.connect() as bare:
        bare.sendall(head.encode())
        assert bare.recv(65536).startswith(b"HTTP/1.1 401 ")
        bare.sendall(b"a" * 200_000)
        assert b"HTTP/1.1" not in read_to_end(bare)


@pytest.mark.parametrize("target", [INFO, "/models", "/health", "/nothing", "/openapi.json"])
def test_every_answer_has_an_id_of_its_own(many: Door, target: str):
    answers = [many.get(target) for _ in range(3)]
    own = [answer.header("x-request-id") or "" for answer in answers]
    assert len(set(own)) == 3
    assert all(UUID.fullmatch(each) for each in own)
    assert own == [answer.header("apim-request-id") for answer in answers]


def test_the_id_of_an_answer_is_not_the_callers(many: Door):
    answer = many.get(INFO, {"x-request-id": "mine"})
    assert answer.header("x-request-id") != "mine"


@pytest.mark.parametrize("client_id", ["5f3c1e0a-8f4d-4c55-9d1b", "a", "A" * 256, "!~{}"])
def test_the_clients_id_comes_back(many: Door, client_id: str):
    headers = {"x-ms-client-request-id": client_id}
    asked = {**headers, "x-ms-return-client-request-id": "true", "traceparent": "00-0-0-00"}
    for answer in (
        many.get(INFO, asked),
        many.get(INFO, headers),
        many.chat(headers=headers),
        many.chat(headers=headers, stream=True),
        many.chat(headers=headers, foo=1),
        many.call("GET", INFO, None, headers, key=None),
    ):
        assert answer.header("x-ms-client-request-id") == client_id


@pytest.mark.parametrize("client_id", ["", " ", "a b", "A" * 257, "\xe9", "a\tb", "a\x80"])
def test_a_clients_id_that_is_none_does_not(many: Door, client_id: str):
    answer = many.get(INFO, {"x-ms-client-request-id": client_id})
    assert answer.status == 200
    assert answer.header("x-ms-client-request-id") is None


def test_a_clients_id_cannot_smuggle_a_header(many: Door):
    for ending in (b"\r\n x-evil: 1", b"\n x-evil: 1", b"%0d%0ax-evil: 1", b"\\r\\nx-evil: 1"):
        sent = b"GET /health HTTP/1.1\r\nConnection: close\r\nx-ms-client-request-id: a" + ending
        answer = many.talk(sent + b"\r\n\r\n")
        assert b"\nx-evil" not in answer.lower()


def test_the_id_in_an_internal_error_is_that_of_the_answer(many: Door):
    """What is not ours to name is only named by the id under which the log has it."""
    answer = many.chat("/fail")
    assert answer.status == 500
    assert answer.error["message"] == "The engine was told to fail."
