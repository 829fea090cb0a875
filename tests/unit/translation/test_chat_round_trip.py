"""Calls that cross the wire come back as they went."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.core import calls
from zaffre.translation.chat_requests import read_chat, write_chat
from zaffre.translation.other_requests import (
    read_completion,
    read_embedding,
    read_image_embedding,
    write_completion,
    write_embedding,
    write_image_embedding,
)
from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

FEW = settings(max_examples=40)

TEXT = st.text(max_size=12)
CONTENT = st.binary(min_size=1, max_size=12)
NAME = st.text("abcXYZ019_-", min_size=1, max_size=12)
NUMBER = st.floats(-5, 5)
SCHEMA = st.dictionaries(TEXT, st.none() | st.integers(-9, 9) | TEXT | st.lists(TEXT), min_size=1)
URL = st.builds("https://example.org/{}".format, NAME)
PART = st.one_of(
    st.builds(calls.TextPart, TEXT),
    st.builds(
        calls.ImagePart,
        CONTENT,
        st.sampled_from(["image/png", "image/svg+xml", "image/*"]),
        st.sampled_from(["auto", "low", "high"]),
    ),
    st.builds(calls.AudioPart, CONTENT, st.sampled_from(["wav", "mp3"])),
    st.builds(calls.MediaReference, st.sampled_from(["image", "audio"]), URL),
)
TOOL_CALL = st.builds(calls.ToolCall, NAME, NAME, TEXT.filter(bool))
MESSAGE = st.one_of(
    st.builds(calls.SystemMessage, TEXT),
    st.builds(calls.UserMessage, st.lists(PART, max_size=3).map(tuple)),
    st.builds(calls.AssistantMessage, TEXT, st.lists(TOOL_CALL, max_size=2).map(tuple)),
    st.builds(calls.ToolMessage, NAME, TEXT),
)
SAMPLING = st.builds(
    calls.Sampling,
    temperature=st.none() | NUMBER,
    top_p=st.none() | NUMBER,
    frequency_penalty=st.none() | NUMBER,
    presence_penalty=st.none() | NUMBER,
    max_tokens=st.none() | st.integers(-5, 2**40),
    stop=st.lists(TEXT.filter(bool), max_size=3).map(tuple),
    seed=st.none() | st.integers(-(2**70), 2**70),
    n=st.integers(-1, 5),
    logprobs=st.none() | st.integers(0, 20),
    logit_bias=st.none()
    | st.dictionaries(st.integers(0, 99_999), st.floats(-100, 100), min_size=1),
    top_k=st.none() | st.integers(-1, 100),
    min_p=st.none() | NUMBER,
    repetition_penalty=st.none() | NUMBER,
    stop_token_ids=st.lists(st.integers(0, 99), max_size=2).map(tuple),
    ignore_eos=st.booleans(),
)
FORMAT = st.sampled_from(["text", "json_object"]) | st.builds(
    calls.JsonSchema, NAME, SCHEMA, st.booleans()
)
TOOL = st.builds(calls.Tool, NAME, SCHEMA, TEXT, st.booleans())


@st.composite
def chat_calls(draw: st.DrawFn) -> calls.ChatCall:
    tools = tuple(draw(st.lists(TOOL, max_size=3)))
    choices: list[Any] = ["auto"]
    if tools:
        choices += ["none", "required", *(calls.NamedTool(tool.name) for tool in tools)]
    return calls.ChatCall(
        messages=tuple(draw(st.lists(MESSAGE, min_size=1, max_size=4))),
        sampling=draw(SAMPLING),
        format=draw(FORMAT),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        parallel_tool_calls=draw(st.booleans()),
        modalities=draw(st.sampled_from([("text",), ("text", "audio")])),
    )


@given(chat_calls(), st.booleans())
def test_a_chat_call_comes_back(call: calls.ChatCall, stream: bool):
    sent = codec.encode(write_chat(call, "model", stream=stream))
    received = codec.decode(sent, ChatRequest)
    assert received.stream is stream
    assert received.model == "model"
    assert read_chat(received, {}) == call


@given(chat_calls())
@FEW
def test_nothing_absent_is_sent(call: calls.ChatCall):
    """Foreign servers refuse nulls that they do not know."""
    sent = codec.decode(codec.encode(write_chat(call, "model", stream=False)), dict)
    assert None not in sent.values()
    assert all(None not in message.values() for message in sent["messages"])


@given(
    st.builds(
        calls.CompletionCall,
        prompts=st.lists(
            TEXT | st.lists(st.integers(0, 99), min_size=1).map(tuple), min_size=1
        ).map(tuple),
        sampling=SAMPLING,
        echo=st.booleans(),
        suffix=st.none() | TEXT,
        best_of=st.none() | st.integers(0, 9),
    )
)
@FEW
def test_a_completion_call_comes_back(call: calls.CompletionCall):
    sent = codec.encode(write_completion(call, "model", stream=False))
    assert read_completion(codec.decode(sent, CompletionRequest), {}) == call


@given(
    st.builds(
        calls.EmbedCall,
        texts=st.lists(TEXT, min_size=1).map(tuple),
        dimensions=st.none() | st.integers(-1, 9),
        input_type=st.sampled_from(["text", "query", "document"]),
    )
)
@FEW
def test_an_embedding_call_comes_back(call: calls.EmbedCall):
    sent = codec.encode(write_embedding(call, "model"))
    assert read_embedding(codec.decode(sent, EmbeddingRequest), {}) == call


@given(
    st.builds(
        calls.ImageEmbedCall,
        inputs=st.lists(st.builds(calls.ImageInput, CONTENT, st.none() | TEXT), min_size=1).map(
            tuple
        ),
        dimensions=st.none() | st.integers(-1, 9),
        input_type=st.sampled_from(["text", "query", "document"]),
    )
)
@FEW
def test_an_image_embedding_call_comes_back(call: calls.ImageEmbedCall):
    sent = codec.encode(write_image_embedding(call, "model"))
    assert read_image_embedding(codec.decode(sent, ImageEmbeddingRequest), {}) == call
