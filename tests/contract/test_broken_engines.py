"""Engines that fail, die or hang, and clients that leave (checklist rows 44, 45)."""

import json
import socket
import time
from typing import Any

import pytest
from raw_http import COMPLETIONS, LIMIT_S, Answer, Door

FRAGILE = {"model": "fragile"}


def replica(door: Door, name: str) -> dict[str, Any]:
    listed = door.get("/health/replicas").json["replicas"]
    return next(each for each in listed if each["deployment"] == name)


def wait_until(door: Door, name: str, **expected: Any) -> dict[str, Any]:
    """Ask until it is so."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = replica(door, name)
        if all(found[key] == value for key, value in expected.items()):
            return found
    raise AssertionError(f"{name} is still {found}, not {expected}")


def chat_until_it_runs(door: Door, model: str) -> Answer:
    """Just after a crash a call waits for the new worker, or is told to come again."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        answer = door.chat("hi", model=model)
        if answer.status == 200:
            return answer
        assert answer.status == 503
        assert answer.error["code"] == "model_unavailable"
    raise AssertionError(f"{model} did not come back")


def begin(
    door: Door, said: str, *, stream: bool, model: str, path: str = "/chat/completions"
) -> socket.socket:
    """Send a request and leave its answer unread."""
    prompt = (
        {"prompt": said}
        if path == "/completions"
        else {"messages": [{"role": "user", "content": said}]}
    )
    body = json.dumps({**prompt, "stream": stream, "model": model})
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\napi-key: {door.key}\r\nContent-Length: {len(body)}"
    bare = door.connect()
    bare.sendall(f"{head}\r\n\r\n{body}".encode())
    return bare


def cut_off(answer: Answer, said: list[str]) -> None:
    """A stream that no client takes for whole: said so far, an error event, and no proper end."""
    assert answer.status == 200
    assert not answer.whole
    payloads = [json.loads(payload) for payload in answer.payloads]
    *chunks, last = payloads
    texts = [
        choice.get("text") or choice.get("delta", {}).get("content")
        for c in chunks
        for choice in c["choices"]
    ]
    assert [text for text in texts if text] == said
    assert not any(choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"])
    assert list(last) == ["error", "choices"]
    assert last["choices"] == []
    assert last["error"]["code"] == "engine_failed"
    assert last["error"]["message"]
    assert last["error"]["status"] == 500


@pytest.mark.parametrize("path", ["/chat/completions", COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_byte_is_an_error(many: Door, path: str, stream: bool):
    for said in ("/fail", "/fail-after 0"):
        body = {"prompt": said, "messages": [{"role": "user", "content": said}], "stream": stream}
        del body["messages" if path == COMPLETIONS else "prompt"]
        answer = many.post(path, body)
        assert answer.status == 500
        assert answer.error["code"] == "engine_failed"
        assert answer.whole


def test_a_failure_in_mid_stream_cuts_it_off(many: Door):
    cut_off(many.chat("/fail-after 2 a b", stream=True), ["/fail-after ", "2 "])
    text = many.post(COMPLETIONS, {"prompt": "/fail-after 3 a b", "stream": True})
    cut_off(text, ["/fail-after ", "3 ", "a "])


def test_a_failure_after_some_words_of_a_whole_answer_is_an_error(many: Door):
    answer = many.chat("/fail-after 2 a b")
    assert answer.status == 500
    assert answer.whole


def test_a_worker_that_dies_comes_back_and_takes_nobody_with_it(many: Door):
    before = replica(many, "fragile")["restarts"]
    with begin(many, "/slow 150 a b c d e f g", stream=True, model="second") as other:
        cut_off(many.chat("/crash-after 2 a b", stream=True, **FRAGILE), ["/crash-after ", "2 "])
        answer = chat_until_it_runs(many, "fragile")
        assert answer.json["choices"][0]["message"]["content"] == "hi"
        assert wait_until(many, "fragile", state="ready")["restarts"] == before + 1
        assert replica(many, "second")["restarts"] == 0
        seen = b""
        while b"[DONE]" not in seen:
            seen += other.recv(65536)


@pytest.mark.parametrize("stream", [False, True])
def test_a_worker_that_dies_before_the_first_byte_is_an_error(many: Door, stream: bool):
    answer = many.chat("/crash", stream=stream, **FRAGILE)
    assert answer.status == 500
    assert answer.error["code"] == "engine_failed"
    assert chat_until_it_runs(many, "fragile").whole


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
@pytest.mark.parametrize("said", ["/hang", "/slow 100000 a b"])
def test_a_client_that_leaves_frees_the_engine(many: Door, path: str, stream: bool, said: str):
    with begin(many, said, stream=stream, model="narrow", path=path):
        busy = wait_until(many, "narrow", active=1)
        assert busy["calls"] == 1
    wait_until(many, "narrow", active=0, calls=0)


def test_a_client_that_leaves_in_mid_stream_frees_the_engine(many: Door):
    with begin(many, "/slow 20 " + "w " * 1000, stream=True, model="narrow") as bare:
        seen = b""
        while b"/slow" not in seen:
            seen += bare.recv(65536)
        assert replica(many, "narrow")["active"] == 1
    wait_until(many, "narrow", active=0, calls=0)


def test_a_client_that_leaves_a_pipelined_request_frees_the_engine(many: Door):
    with begin(many, "/hang", stream=False, model="narrow") as bare:
        bare.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        wait_until(many, "narrow", active=1)
    wait_until(many, "narrow", active=0, calls=0)


def test_a_client_that_leaves_its_body_half_sent_is_forgotten(many: Door):
    for sent in (b"", b"POST", b"POST /chat/completions HTTP/1.1\r\nHost: x\r\n"):
        many.connect().close()
        with many.connect() as bare:
            bare.sendall(sent)
    head = f"POST /chat/completions HTTP/1.1\r\napi-key: {many.key}\r\nContent-Length: 50\r\n\r\n"
    with many.connect() as bare:
        bare.sendall(head.encode() + b'{"messages"')
    assert many.chat("hi").status == 200


def test_a_full_queue_is_refused_at_once(many: Door):
    """`narrow` has one slot and room for three that wait: the fifth is told to come again."""
    held = [begin(many, "/hang", stream=bool(n % 2), model="narrow") for n in range(4)]
    try:
        wait_until(many, "narrow", calls=4)
        for asked in ({}, {"stream": True}):
            answer = many.chat("hi", model="narrow", **asked)
            assert answer.status == 429
            assert answer.error["code"] == "too_many_requests"
            assert (answer.header("retry-after") or "").isdecimal()
        embedding = many.post("/embeddings", {"input": "hi", "model": "narrow"})
        assert embedding.status == 429
        assert many.chat("hi", model="second").status == 200
    finally:
        for bare in held:
            bare.close()
    wait_until(many, "narrow", calls=0, active=0)
    assert many.chat("hi", model="narrow").status == 200


def test_a_model_that_cannot_start_says_so(broken: Door):
    for asked in ({}, {"stream": True}):
        answer = broken.chat("hi", model="never", **asked)
        assert answer.status == 503
        assert answer.error["code"] == "model_unavailable"
        assert answer.header("retry-after") == "1"
    assert broken.chat("hi", model="echo").status == 200
    assert replica(broken, "never")["state"] == "failed"
    assert replica(broken, "never")["cause"]


def test_an_engine_that_says_nothing_is_given_up(broken: Door):
    """`request_timeout_s` is half a second there; 408 is not tried again three times as 504 is."""
    for asked in ({}, {"stream": True}):
        answer = broken.chat("/hang", model="echo", **asked)
        assert answer.status == 408
        assert answer.error["code"] == "request_timeout"
    wait_until(broken, "echo", active=0, calls=0)
