"""Chat answers and streams, byte for byte (checklist rows 9 to 17, 44, 50)."""

import json
import re
from typing import Any

import pytest
from raw_http import PASS, Answer, Door

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
TOOL = {"type": "function", "function": {"name": "look_up"}}
CALL = (
    '{"id":"call_6899ee404683a14e8c2a0314","type":"function","function":'
    '{"name":"look_up","arguments":"{\\"text\\":\\"one two three\\"}"}}'
)


def generalised(answer: Answer) -> bytes:
    """The body with the id and time of the answer, which must be well-formed, made constant."""
    ids = set(re.findall(rb'"id":"([0-9a-f-]{36})"', answer.body))
    times = set(re.findall(rb'"created":(\d+),', answer.body))
    assert len(ids) == len(times) == 1
    (only,) = ids
    assert UUID.fullmatch(only.decode())
    return re.sub(rb'"created":\d+,', b'"created":1,', answer.body.replace(only, b"ID"))


def frame(choices: str, usage: str = "") -> bytes:
    head = '{"id":"ID","object":"chat.completion.chunk","created":1,"model":"Echo","choices":['
    return f"data: {head}{choices}]{usage}}}\n\n".encode()


def test_a_whole_answer_byte_for_byte(many: Door):
    assert generalised(many.chat()) == (
        b'{"id":"ID","object":"chat.completion","created":1,"model":"Echo","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"one two three"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}}'
    )


def test_a_stream_byte_for_byte(many: Door):
    delta = '{"index":0,"delta":%s,"finish_reason":%s}'
    expected = [
        frame(delta % ('{"role":"assistant","content":""}', "null")),
        frame(delta % ('{"content":"one "}', "null")),
        frame(delta % ('{"content":"two "}', "null")),
        frame(delta % ('{"content":"three"}', "null")),
        frame(
            delta % ('{"content":""}', '"stop"'),
            ',"usage":{"prompt_tokens":3,"completion_tokens":3,"total_tokens":6}',
        ),
        b"data: [DONE]\n\n",
    ]
    answer = many.chat(stream=True)
    assert generalised(answer) == b"".join(expected)
    assert answer.header("transfer-encoding") == "chunked"
    assert answer.header("content-length") is None


def test_a_whole_tool_call_byte_for_byte(many: Door):
    assert generalised(many.chat(tools=[TOOL])) == (
        b'{"id":"ID","object":"chat.completion","created":1,"model":"Echo","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":null,"tool_calls":['
        + CALL.encode()
        + b']},"finish_reason":"tool_calls"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}'
    )


def test_a_tool_stream_byte_for_byte(many: Door):
    """One delta has the whole call, with its index, and there is no content (section 17 row 1)."""
    call = CALL.replace("{", '{"index":0,', 1)
    expected = [
        frame(
            '{"index":0,"delta":{"role":"assistant","tool_calls":['
            + call
            + ']},"finish_reason":null}'
        ),
        frame(
            '{"index":0,"delta":{},"finish_reason":"tool_calls"}',
            ',"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}',
        ),
        b"data: [DONE]\n\n",
    ]
    assert generalised(many.chat(tools=[TOOL], stream=True)) == b"".join(expected)


@pytest.mark.parametrize(
    "said", ["one", "one two three", "", " ", "한국어 😀 \u2028 x", "w " * 500]
)
def test_the_sdks_own_checks_hold(many: Door, said: str):
    chunks = many.chat(said, stream=True).chunks
    first, *others = chunks
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert len(chunks) >= (3 if said else 2)
    for chunk in others:
        (choice,) = chunk["choices"]
        assert "role" not in choice["delta"]
        assert choice["delta"]["content"] is not None
        assert "tool_calls" not in choice["delta"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["model"] for chunk in chunks} == {"Echo"}
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert [bool(c.get("usage")) for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert isinstance(chunks[0]["created"], int)


@pytest.mark.parametrize("asked", [{}, {"max_tokens": 2}, {"max_tokens": 0}, {"stop": "two"}])
def test_a_stream_says_what_the_whole_answer_says(many: Door, asked: dict[str, Any]):
    whole = many.chat("one two three", **asked).json
    chunks = many.chat("one two three", stream=True, **asked).chunks
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert said == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


@pytest.mark.parametrize("asked", [{}, {"tools": [TOOL]}], ids=["text", "tools"])
def test_several_choices_keep_their_index(many: Door, asked: dict[str, Any]):
    chunks = many.chat("one two", PASS, n=3, stream=True, **asked).chunks
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    for index in range(3):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert own[-1]["finish_reason"] == ("tool_calls" if asked else "stop")
        assert [c["finish_reason"] for c in own[:-1]] == [None] * (len(own) - 1)
        if not asked:
            assert "".join(choice["delta"]["content"] for choice in own) == "one two"
        else:
            calls = [call for c in own for call in c["delta"].get("tool_calls", [])]
            assert [call["index"] for call in calls] == [0]
    assert [bool(c.get("usage")) for c in chunks] == [False] * (len(chunks) - 1) + [True]
    whole = many.chat("one two", PASS, n=3, **asked).json
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert whole["usage"] == chunks[-1]["usage"]


def test_usage_that_was_asked_for_comes_where_it_always_does(many: Door):
    """No chunk without choices: async tracing clients take the first of every one (row 50)."""
    for options in ({"include_usage": True}, {"include_usage": False}, {}):
        chunks = many.chat("hi", PASS, stream=True, stream_options=options).chunks
        assert all(chunk["choices"] for chunk in chunks)
        assert chunks[-1]["usage"]["total_tokens"] == 2


def test_an_answer_to_be_streamed_is_refused_as_any_other(many: Door):
    for asked, status in (
        ({"model": "gpt-4"}, 400),
        ({"temperature": 9}, 422),
        ({"n": 2}, 400),
        ({"messages": []}, 400),
        ({"model": "embedder"}, 404),
    ):
        answer = many.chat(stream=True, **asked)
        assert answer.status == status
        assert json.loads(answer.body)["error"]["code"] == answer.error["code"]


def test_streams_arrive_piece_by_piece(many: Door):
    """The first frames are there while the engine is still at work on the others."""
    body = json.dumps(
        {"messages": [{"role": "user", "content": "/slow 300 a b c d e f g h"}], "stream": True}
    )
    head = f"POST /chat/completions HTTP/1.1\r\nHost: x\r\napi-key: {many.key}\r\nContent-Length: "
    with many.connect() as bare:
        bare.sendall(f"{head}{len(body)}\r\n\r\n{body}".encode())
        seen = b""
        while b"/slow" not in seen:
            seen += bare.recv(65536)
        assert b"[DONE]" not in seen
