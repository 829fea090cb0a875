"""Embeddings on OpenAI v1: both encodings, and what is refused rather than embedded as nonsense."""

import base64
import struct
from typing import Any

import pytest
from openai_bytes import V1, refusal
from raw_http import Answer, Door

FLOATS = (
    "0.35894548892974854,0.11322441697120667,0.0072270906530320644,-0.5275775790214539,"
    "0.35894548892974854,-0.48421505093574524,0.2963107228279114,0.35894548892974854"
)


def embed(door: Door, **body: Any) -> Answer:
    return door.post(f"{V1}/embeddings", {"model": "echo", "input": "a", **body})


def test_a_vector(echo_door: Door):
    """Given a text, when it is embedded, then these are the bytes."""
    assert embed(echo_door).body.decode() == (
        '{"object":"list","model":"echo","data":[{"index":0,"embedding":'
        f'[{FLOATS}],"object":"embedding"}}],"usage":{{"prompt_tokens":1,"total_tokens":1}}}}'
    )


def test_base64_holds_the_same_numbers(echo_door: Door):
    """Given base64, which OpenAI's clients ask for, when it is decoded, the floats are the same."""
    text = embed(echo_door, encoding_format="base64").json["data"][0]["embedding"]
    numbers = struct.unpack("<8f", base64.b64decode(text))
    assert list(numbers) == [float(number) for number in FLOATS.split(",")]


def test_texts_keep_their_order(echo_door: Door):
    """Given several texts, when they are embedded together, then as if one by one."""
    together = embed(echo_door, input=["b", "a", "b"]).json["data"]
    assert [item["index"] for item in together] == [0, 1, 2]
    assert together[0]["embedding"] == together[2]["embedding"] != together[1]["embedding"]
    assert together[1]["embedding"] == embed(echo_door).json["data"][0]["embedding"]


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], [[9906]]])
def test_token_ids_are_refused_with_the_way_out(echo_door: Door, ids: Any):
    """Given another tokenizer's ids, when they are sent, then no vector is made of them."""
    error = refusal(embed(echo_door, input=ids), 400)
    assert (error["param"], error["code"]) == ("input", "unsupported_parameter")
    assert "check_embedding_ctx_length=False" in error["message"]


@pytest.mark.parametrize("nothing", ["", ["a", ""], []])
def test_nothing_is_not_embedded(echo_door: Door, nothing: Any):
    """Given no text, when it is sent, then it is refused as OpenAI does."""
    error = refusal(embed(echo_door, input=nothing), 400)
    assert (error["param"], error["code"]) == ("input", "invalid_value")


def test_the_encodings_are_openais_two(echo_door: Door):
    """Given an encoding of the other dialect, when it is asked for here, then it is refused."""
    error = refusal(embed(echo_door, encoding_format="int8"), 400)
    assert error["param"] == "encoding_format"
    assert "['float','base64']" in error["message"]


def test_dimensions_that_the_model_lacks_are_refused(many: Door):
    """Given models with and without shorter vectors, when fewer are asked for, one can."""
    url = f"{V1}/embeddings"
    short = many.post(url, {"model": "embedder", "input": "a", "dimensions": 4})
    assert len(short.json["data"][0]["embedding"]) == 4
    error = refusal(many.post(url, {"model": "echo", "input": "a", "dimensions": 4}), 400)
    assert (error["param"], error["code"]) == ("dimensions", "unsupported_parameter")


def test_notes_of_the_caller_change_nothing(echo_door: Door):
    """Given `user`, when it is sent along, then the answer is the same."""
    assert embed(echo_door, user="somebody").body == embed(echo_door).body
