"""Streams of foreign servers, made regular: each as some server really sends it."""

import json
from typing import Any

import pytest

from zaffre.core.calls import ChatCall, Sampling, TextPart, ToolCall, UserMessage
from zaffre.core.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed
from zaffre.translation.answers import write_usage
from zaffre.upstream.foreign.answers import ChatReader
from zaffre.wire import codec
from zaffre.wire.sse import DONE, EventReader

COUNTS = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CALL = ToolCall("a", "f", '{"x":1}')


def a_call(n: int = 1) -> ChatCall:
    return ChatCall(messages=(UserMessage((TextPart("Hello"),)),), sampling=Sampling(n=n))


def read(*chunks: Any, n: int = 1) -> list[Delta]:
    reader = ChatReader(a_call(n), None)
    found = [delta for c in chunks for delta in reader.read(json.dumps(c).encode())]
    return [*found, reader.close()]


def read_whole(message: Any, finish: str | None = "stop", **more: Any) -> list[Delta]:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"choices": [choice], "usage": COUNTS, **more}
    return list(ChatReader(a_call(), None).read_whole(json.dumps(body).encode()))


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def tool(index: int | None = None, call_id: str | None = None, **function: Any) -> Any:
    fields = {"index": index, "id": call_id, "function": function or None}
    return chunk({"tool_calls": [{k: v for k, v in fields.items() if v is not None}]})


END = (chunk({}, "stop"), {"choices": [], "usage": COUNTS})


def test_azure_openai():
    """Filter results first on a chunk without choices, filters in choices, late usage."""
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    deltas = read(
        {
            "id": "",
            "model": "",
            "created": 0,
            "object": "",
            "choices": [],
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": safe}],
        },
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
        chunk({"content": "Hi"}, system_fingerprint="fp", usage=None),
        {
            "choices": [
                {
                    "index": 0,
                    "content_filter_results": safe,
                    "content_filter_offsets": {"check_offset": 1},
                    "finish_reason": None,
                }
            ]
        },
        chunk({}, "stop"),
        {"choices": [], "usage": {**COUNTS, "prompt_tokens_details": {"cached_tokens": 4}}},
    )
    assert deltas == [TextDelta("Hi"), Finish("stop"), Usage(5, 2, cached_tokens=4)]


def test_nulls_and_floats_where_others_have_words():
    deltas = read(
        {"id": None, "created": 1.5, "model": None, "choices": None, "usage": None},
        {"choices": [{"index": None, "delta": None, "finish_reason": None, "logprobs": None}]},
        chunk({"role": None, "content": None, "tool_calls": None}),
        chunk({"content": "Hi"}, finish=""),
        *END,
    )
    assert deltas == [TextDelta("Hi"), Finish("stop"), Usage(5, 2)]


def test_crlf_comments_and_fields():
    lines = [": OPENROUTER PROCESSING", "", "event: message", "id: 7", "retry: 10"]
    for body in (chunk({"content": "Hi"}), *END):
        lines += [f"data:{json.dumps(body)}", ""]
    raw = "\r\n".join([*lines, "data: [DONE]", "", ""]).encode()
    events, reader = EventReader(), ChatReader(a_call(), None)
    payloads = [payload for i in range(len(raw)) for payload in events.feed(raw[i : i + 1])]
    assert payloads.pop() == DONE
    assert [d for p in payloads for d in reader.read(p)] == [TextDelta("Hi"), Finish("stop")]
    assert reader.close() == Usage(5, 2)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_have_two_names(name: str):
    deltas = read(chunk({name: "hm"}), chunk({"content": "so", name: None}), *END)
    assert deltas[:2] == [ReasoningDelta("hm"), TextDelta("so")]
    assert read_whole({"content": "so", name: "hm"})[:2] == deltas[:2]


def test_both_names_together_are_one_thought():
    """As vLLM sends them while one is on its way out."""
    deltas = read(chunk({"reasoning_content": "hm", "reasoning": "hm"}), *END)
    assert deltas[0] == ReasoningDelta("hm")
    assert read(chunk({"reasoning": {"effort": "low"}, "content": "so"}), *END)[0] == TextDelta(
        "so"
    )


def test_content_in_parts():
    """As Mistral's reasoning models have it."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "so"},
        {"type": "reference", "reference_ids": [1]},
    ]
    assert read(chunk({"content": parts}), *END)[:2] == [ReasoningDelta("hm"), TextDelta("so")]


def test_a_refusal_is_said():
    assert read(chunk({"content": None, "refusal": "I will not."}), *END)[0] == TextDelta(
        "I will not."
    )


FRAGMENTS = {
    "openai": [
        tool(0, "a", name="f", arguments=""),
        tool(0, arguments='{"x"'),
        tool(0, arguments=":1}"),
    ],
    "a new id each time, as older vLLM": [
        tool(0, "a", name="f"),
        tool(0, "b", arguments='{"x"'),
        tool(0, "c", arguments=":1}"),
    ],
    "id and name each time": [
        tool(0, "a", name="f", arguments='{"x"'),
        tool(0, "a", name="f", arguments=":1}"),
    ],
    "without index": [
        tool(None, "a", name="f", arguments='{"x"'),
        tool(None, None, arguments=":1}"),
    ],
    "name first, then id": [tool(0, None, name="f"), tool(0, "a", arguments='{"x":1}')],
    "arguments as an object": [tool(0, "a", name="f", arguments={"x": 1})],
}


@pytest.mark.parametrize("fragments", FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_a_call_in_fragments_leaves_whole(fragments: list[Any]):
    expected = [ToolCallDelta(CALL), Finish("tool_calls")]
    assert read(*fragments, chunk({}, "tool_calls"), END[1])[:-1] == expected


def test_calls_that_are_all_numbered_zero_stay_apart():
    """As Gemini's OpenAI form has them."""
    deltas = read(
        tool(0, "a", name="f", arguments="{}"),
        tool(0, "b", name="f", arguments='{"y":2}'),
        chunk({}, "stop"),
    )
    assert deltas[:-1] == [
        ToolCallDelta(ToolCall("a", "f", "{}")),
        ToolCallDelta(ToolCall("b", "f", '{"y":2}')),
        Finish("tool_calls"),
    ]


def test_fragments_of_two_calls_may_be_mixed():
    deltas = read(
        tool(0, "a", name="f", arguments="1"),
        tool(1, "b", name="g", arguments="2"),
        tool(0, arguments="3"),
        tool(1, arguments="4"),
        chunk({}, "tool_calls"),
    )
    assert deltas[:2] == [
        ToolCallDelta(ToolCall("a", "f", "13")),
        ToolCallDelta(ToolCall("b", "g", "24")),
    ]


def test_a_call_without_a_name_is_a_failure():
    with pytest.raises(EngineFailed):
        read(tool(0, "a", arguments="{}"), chunk({}, "tool_calls"))


def test_calls_without_number_are_bounded():
    with pytest.raises(EngineFailed):
        read(*(tool(i, f"id{i}", name="f") for i in range(513)))


def test_a_whole_answer():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert read_whole({"content": None, "tool_calls": [call]}) == [
        ToolCallDelta(CALL),
        Finish("tool_calls"),
        Usage(5, 2),
    ]
    assert read_whole({"content": "Hi"}, None) == [TextDelta("Hi"), Finish("stop"), Usage(5, 2)]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("COMPLETE", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("tool_use", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("of its own making", "stop"),
    ],
)
def test_reasons_are_put_into_ours(theirs: str, ours: str):
    assert read(chunk({"content": "Hi"}, theirs), END[1])[1] == Finish(ours)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["error", "abort", "ABORTED", "insufficient_system_resource"])
def test_a_reason_that_says_it_broke_is_a_failure(reason: str):
    with pytest.raises(EngineFailed):
        read(chunk({"content": "Hi"}, reason))
    with pytest.raises(EngineFailed):
        read_whole({"content": "Hi"}, reason)


def test_choices_have_to_end_each_for_itself():
    one, two = chunk({"content": "a"}, "stop", 0), chunk({"content": "b"}, "length", 1)
    deltas = read(two, one, n=2)
    assert deltas[1::2] == [Finish("length", 1), Finish("stop", 0)]
    with pytest.raises(EngineFailed):
        read(one, n=2)
    with pytest.raises(EngineFailed):
        read(one, chunk({"content": "b"}, index=1), n=2)
    with pytest.raises(EngineFailed):
        read(one, two)


def test_a_second_end_does_not_count():
    assert read(chunk({}, "stop"), chunk({}, "length"))[:-1] == [Finish("stop")]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([None], Usage(6, 2, estimated=True)),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], Usage(6, 2, estimated=True)),
        ([{"prompt_tokens": 9}], Usage(9, 0)),
        ([{"total_tokens": 9, "completion_tokens": 2}], Usage(7, 2)),
        ([{"prompt_tokens": 9}, {"prompt_tokens": 9, "completion_tokens": 3}], Usage(9, 3)),
        ([{"prompt_tokens": 9, "completion_tokens": 3}, None], Usage(9, 3)),
        ([{**COUNTS, "estimated": True}], Usage(5, 2, estimated=True)),
        (
            [{**COUNTS, "completion_tokens_details": {"reasoning_tokens": 1, "x": {}}}],
            Usage(5, 2, reasoning_tokens=1),
        ),
        ([{**COUNTS, "prompt_tokens_details": {"cached_tokens": None}}], Usage(5, 2)),
    ],
    ids=str,
)
def test_what_is_not_counted_is_estimated_and_says_so(told: list[Any], expected: Usage):
    """5 bytes of prompt are 2 tokens and a message 4; 7 bytes of answer are 2."""
    usages = [{"choices": [], "usage": usage} for usage in told]
    assert read(chunk({"content": "1234567"}), chunk({}, "stop"), *usages)[-1] == expected


def test_log_probabilities_come_along():
    shown = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
    body = chunk({"content": "Hi"})
    body["choices"][0]["logprobs"] = shown
    assert read(body, *END)[0] == TextDelta("Hi", 0, (TokenLogprob("Hi", -0.5, b"Hi"),))


@pytest.mark.parametrize("estimated", [False, True])
def test_an_estimate_says_so_on_our_own_wire_and_through_it(estimated: bool):
    """Given a Zaffre behind a Zaffre, when it has estimated, then this one knows."""
    body = json.loads(codec.encode(write_usage(Usage(5, 2, estimated=estimated))))
    assert body.get("estimated", False) is estimated
    usage = read(chunk({}, "stop"), {"choices": [], "usage": body})[-1]
    assert usage == Usage(5, 2, estimated=estimated)
