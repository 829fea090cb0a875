"""Streams of other servers: fragments of calls, late usage, thoughts, and ends that are none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.core.answers import gather
from zaffre.core.calls import ToolCall
from zaffre.core.deltas import (
    Alternative,
    Delta,
    Deltas,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed
from zaffre.translation import answers
from zaffre.wire import codec
from zaffre.wire.chat import ChatChunk, ChatResponse
from zaffre.wire.completions import CompletionResponse


def read(*chunks: Any) -> list[Delta]:
    reader = answers.ChatChunkReader()
    found = [
        d for c in chunks for d in reader.read(codec.decode(json.dumps(c).encode(), ChatChunk))
    ]
    return [*found, reader.close()]


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice], **more}


def tool(index: int | None, **fields: Any) -> Any:
    numbered = {} if index is None else {"index": index}
    name_or_arguments = {k: v for k, v in fields.items() if k in ("name", "arguments")}
    others = {k: v for k, v in fields.items() if k not in ("name", "arguments")}
    return {"tool_calls": [{**numbered, **others, "function": name_or_arguments}]}


def test_openais_stream():
    """Role first, content null, finish apart, usage alone on a chunk without choices."""
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    deltas = read(
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
        chunk({"content": "Hi"}),
        chunk({"content": None}),
        chunk({"content": "!"}, system_fingerprint="fp"),
        chunk({}, "stop"),
        {"id": "x", "choices": [], "usage": usage},
    )
    assert deltas == [
        TextDelta("Hi"),
        TextDelta("!"),
        Finish("stop"),
        Usage(5, 2, cached_tokens=4, reasoning_tokens=1),
    ]


def test_azures_stream_begins_without_choices_and_ends_with_usage():
    deltas = read(
        {"id": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []},
        chunk({"role": "assistant", "content": "a"}),
        chunk(
            {"content": ""},
            "length",
            usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        ),
    )
    assert deltas == [TextDelta("a"), Finish("length"), Usage(1, 1)]


def test_a_tool_call_in_fragments_leaves_whole_before_the_end():
    deltas = read(
        chunk(
            {
                "role": "assistant",
                "content": None,
                **tool(0, id="a", type="function", name="f", arguments=""),
            }
        ),
        chunk(tool(0, arguments='{"x"')),
        chunk(tool(0, arguments=":1}")),
        chunk(tool(1, id="b", type="function", name="g", arguments="{}")),
        chunk({}, "tool_calls"),
    )
    assert deltas == [
        ToolCallDelta(ToolCall("a", "f", '{"x":1}')),
        ToolCallDelta(ToolCall("b", "g", "{}")),
        Finish("tool_calls"),
        Usage(0, 0),
    ]


def test_fragments_of_several_calls_and_choices_may_be_mixed():
    deltas = read(
        chunk(tool(0, id="a", name="f", arguments="1"), index=1),
        chunk(tool(1, id="b", name="g", arguments="2"), index=1),
        chunk(tool(0, id="c", name="h", arguments="3"), index=0),
        chunk(tool(0, arguments="4"), index=1),
        chunk(tool(1, arguments="5"), index=1),
        chunk({}, "tool_calls", index=1),
        chunk({}, "tool_calls", index=0),
    )
    assert deltas[:-1] == [
        ToolCallDelta(ToolCall("a", "f", "14"), 1),
        ToolCallDelta(ToolCall("b", "g", "25"), 1),
        Finish("tool_calls", 1),
        ToolCallDelta(ToolCall("c", "h", "3"), 0),
        Finish("tool_calls", 0),
    ]


def test_a_call_without_index_or_arguments_is_whole_as_well():
    """As serverless Mistral sends them: one delta, no index, no type (section 4.4)."""
    deltas = read(
        chunk({"content": "", **tool(None, id="a", name="f", arguments='{"x":1}')}, "tool_calls")
    )
    assert deltas[:2] == [ToolCallDelta(ToolCall("a", "f", '{"x":1}')), Finish("tool_calls")]
    assert read(chunk(tool(0, name="f"), "function_call"))[:2] == [
        ToolCallDelta(ToolCall("call_0", "f", "{}")),
        Finish("tool_calls"),
    ]


def test_repeated_ids_and_names_are_not_added_up():
    deltas = read(
        chunk(tool(0, id="a", name="f", arguments="1")),
        chunk(tool(0, id="a", name="f", arguments="2")),
        chunk({}, "tool_calls"),
    )
    assert deltas[0] == ToolCallDelta(ToolCall("a", "f", "12"))


def test_thoughts_come_apart():
    deltas = read(
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning_content": "m", "content": ""}),
        chunk({"reasoning_content": None, "content": "so"}),
        chunk({}, "stop"),
    )
    assert deltas[:-1] == [
        ReasoningDelta("hm"),
        ReasoningDelta("m"),
        TextDelta("so"),
        Finish("stop"),
    ]


def test_log_probabilities_are_read():
    shown = {
        "content": [
            {
                "token": "a",
                "logprob": -0.5,
                "bytes": [97],
                "top_logprobs": [{"token": "b", "logprob": -2.0, "bytes": None}],
            }
        ]
    }
    body = chunk({"content": "a"})
    body["choices"][0]["logprobs"] = shown
    (delta, *_) = read(body, chunk({}, "stop"))
    alternative = Alternative("b", -2.0, b"b")
    assert delta == TextDelta("a", 0, (TokenLogprob("a", -0.5, b"a", (alternative,)),))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("model_length", "stop"),
    ],
)
def test_reasons_of_other_servers_are_put_into_ours(reason: str, expected: str):
    assert read(chunk({"content": "a"}, reason))[1] == Finish(expected)  # type: ignore[arg-type]


def test_a_second_finish_of_a_choice_does_not_count():
    assert read(chunk({}, "stop"), chunk({}, "stop"))[:-1] == [Finish("stop")]


@pytest.mark.parametrize("chunks", [[], [chunk({"content": "a"})], [{"choices": []}]])
def test_a_stream_without_a_finish_is_no_answer(chunks: list[Any]):
    with pytest.raises(EngineFailed):
        read(*chunks)


TEXTS = st.text(min_size=1, max_size=5)
CALLS = st.builds(ToolCall, TEXTS, TEXTS, TEXTS)
PIECES = st.lists(
    st.builds(TextDelta, TEXTS) | st.builds(ReasoningDelta, TEXTS) | st.builds(ToolCallDelta, CALLS)
)


@given(PIECES, st.sampled_from(["stop", "length", "tool_calls"]), st.integers(0, 99))
async def test_what_our_workers_stream_adds_up_to_what_they_answer(
    pieces: list[Delta], reason: Any, tokens: int
):
    sent = [*pieces, Finish(reason), Usage(tokens, tokens)]
    number, reader, read_back = 0, answers.ChatChunkReader(), []
    for delta in sent:
        encoded = codec.encode(answers.write_chat_chunk(delta, number))
        number += isinstance(delta, ToolCallDelta)
        read_back.extend(reader.read(codec.decode(encoded, ChatChunk)))
    streamed = await gather(_iterate([*read_back, reader.close()]))
    assert streamed == await gather(_iterate(sent))
    body = codec.encode(answers.write_chat_answer(streamed))
    whole = list(answers.read_chat_answer(codec.decode(body, ChatResponse)))
    assert await gather(_iterate(whole)) == streamed


async def _iterate(deltas: list[Delta]) -> Deltas:
    for delta in deltas:
        yield delta


def read_text(*chunks: Any) -> list[Delta]:
    reader = answers.TextChunkReader()
    found = [
        d
        for c in chunks
        for d in reader.read(codec.decode(json.dumps(c).encode(), CompletionResponse))
    ]
    return [*found, reader.close()]


def test_a_text_stream():
    deltas = read_text(
        {"choices": [{"index": 0, "text": "a", "finish_reason": None, "logprobs": None}]},
        {"choices": [{"index": 1, "text": "b", "finish_reason": "length"}]},
        {
            "choices": [{"index": 0, "text": "", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1},
        },
    )
    assert deltas == [
        TextDelta("a", 0),
        TextDelta("b", 1),
        Finish("length", 1),
        Finish("stop", 0),
        Usage(1, 1),
    ]
    with pytest.raises(EngineFailed):
        read_text({"choices": [{"index": 0, "text": "a"}]})


def test_text_log_probabilities_cross_the_wire():
    token = TokenLogprob("a", -0.5, b"a", (Alternative("b", -2.0, b"b"),))
    plain = TokenLogprob("c", -1.0, b"c")
    sent = answers.write_text_chunk(TextDelta("ac", 0, (token, plain)), offset=3)
    columns = codec.decode(codec.encode(sent), dict)["choices"][0]["logprobs"]
    assert columns["text_offset"] == [3, 4]
    back = codec.decode(codec.encode(sent), CompletionResponse)
    reader = answers.TextChunkReader()
    assert list(reader.read(back)) == [TextDelta("ac", 0, (token, plain))]


@pytest.mark.parametrize("body", [{"choices": []}, {}])
def test_an_answer_without_a_choice_is_none(body: Any):
    encoded = codec.encode(body)
    with pytest.raises(EngineFailed):
        list(answers.read_chat_answer(codec.decode(encoded, ChatResponse)))
    with pytest.raises(EngineFailed):
        list(answers.read_text_answer(codec.decode(encoded, CompletionResponse)))
