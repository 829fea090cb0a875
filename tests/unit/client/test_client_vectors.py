"""Vectors: exact, in input order, one for each input."""

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.client.errors import InvalidAnswer
from zaffre.client.vectors import read_vectors
from zaffre.wire import codec
from zaffre.wire.embeddings import EmbeddingResponse, encode_vector

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)


def response(*embeddings: object, indexes: list[int] | None = None) -> EmbeddingResponse:
    order = range(len(embeddings)) if indexes is None else indexes
    items = [
        {"index": index, "embedding": embedding}
        for index, embedding in zip(order, embeddings, strict=True)
    ]
    body = {"data": items, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    return codec.decode(json.dumps(body).encode(), EmbeddingResponse)


@given(FLOATS, st.sampled_from(["float", "base64"]))
def test_vectors_are_exact(numbers: list[float], encoding: str):
    """Given any vector, when it comes in either form, then every bit is as it was."""
    vector = array("f", numbers)
    (read,) = read_vectors(response(encode_vector(vector.tobytes(), encoding)), 1)
    assert read.typecode == "f"
    assert read.tobytes() == vector.tobytes()


def test_vectors_are_a_sequence_in_input_order():
    """Given vectors out of order, when they are read, then each belongs to its input."""
    vectors = read_vectors(response([2.0], [1.0], [3.0], indexes=[1, 0, 2]), 3)
    assert [list(vector) for vector in vectors] == [[1.0], [2.0], [3.0]]
    assert len(vectors) == 3
    assert list(vectors[-1]) == [3.0]
    assert vectors[:2] == [array("f", [1.0]), array("f", [2.0])]
    assert (vectors.model, vectors.usage.prompt_tokens) == ("m", 3)


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (response([1.0]), 2),
        (response([1.0], [2.0]), 1),
        (response(), 1),
        (response([1.0], [2.0], indexes=[0, 0]), 2),
        (response([1.0], [2.0], indexes=[1, 2]), 2),
        (response([1.0], [2.0, 3.0]), 2),
        (response("AAA="), 1),
        (response("A"), 1),
        (response("é"), 1),
    ],
)
def test_other_vectors_are_refused(answer: EmbeddingResponse, count: int):
    """Given vectors that cannot be matched with the inputs, when they are read, it is said."""
    with pytest.raises(InvalidAnswer):
        read_vectors(answer, count)
