"""The six encodings of a vector, against numpy."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.wire.embeddings import ENCODINGS, decode_vector, encode_vector

VECTORS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=33).map(
    lambda numbers: np.array(numbers, dtype="<f4")
)
Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


@given(VECTORS)
def test_float_and_base64_lose_nothing(vector: Vector):
    for encoding in ("float", "base64"):
        assert decode_vector(encode_vector(vector.tobytes(), encoding)) == vector.tobytes()
    assert encode_vector(vector.tobytes(), "float") == vector.tolist()
    text = encode_vector(vector.tobytes(), "base64")
    assert isinstance(text, str)
    assert np.array_equal(np.frombuffer(base64.b64decode(text), "<f4"), vector)


@given(VECTORS)
def test_int8_is_127_times_rounded(vector: Vector):
    expected = np.rint(127 * vector.astype(np.float64)).astype(int).tolist()
    assert encode_vector(vector.tobytes(), "int8") == expected
    assert encode_vector(vector.tobytes(), "uint8") == [x + 128 for x in expected]


@given(VECTORS)
def test_ubinary_is_packbits_of_the_signs(vector: Vector):
    packed = np.packbits(vector > 0).astype(int).tolist()
    assert encode_vector(vector.tobytes(), "ubinary") == packed
    assert encode_vector(vector.tobytes(), "binary") == [x - 128 for x in packed]


def test_ranges_hold_at_their_ends():
    ends = np.array([1, -1, 0, -0.0, 2, -2], dtype="<f4").tobytes()
    assert encode_vector(ends, "int8") == [127, -127, 0, 0, 127, -128]
    assert encode_vector(ends, "uint8") == [255, 1, 128, 128, 255, 0]
    assert encode_vector(ends, "ubinary") == [0b10001000]


def test_whole_numbers_from_another_server_are_read():
    assert decode_vector([1, 0, -1]) == np.array([1, 0, -1], dtype="<f4").tobytes()


def test_there_are_six():
    assert set(ENCODINGS) == {"float", "base64", "int8", "uint8", "binary", "ubinary"}
    with pytest.raises(KeyError):
        encode_vector(b"", "hex")
