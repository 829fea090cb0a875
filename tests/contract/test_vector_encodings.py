"""Embeddings: inputs, sizes, and the six encodings against numpy (rows 37 to 40)."""

import base64
import re
from typing import Any

import numpy as np
import pytest
from raw_http import EMBEDDINGS, IMAGES, Answer, Door

UUID = r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
TEXTS = ["one", "two words", "한국어 😀", "one"]
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG one").decode()
JPEG = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8 two").decode()
BOTH: dict[str, dict[str, Any]] = {
    EMBEDDINGS: {"input": TEXTS},
    IMAGES: {"input": [{"image": PNG}, {"image": JPEG, "text": "two"}, {"image": PNG}]},
}
both = pytest.mark.parametrize("target", BOTH)


def vectors(answer: Answer) -> list[Any]:
    body = answer.json
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    assert {item["object"] for item in body["data"]} == {"embedding"}
    return [item["embedding"] for item in body["data"]]


def post(door: Door, target: str, **asked: Any) -> Answer:
    return door.post(target, {**BOTH[target], "model": "embedder", **asked})


def floats(door: Door, target: str, **asked: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(vectors(post(door, target, **asked)), dtype=np.float32)


@both
def test_the_shape_of_an_answer(many: Door, target: str):
    body = post(many, target).json
    assert list(body) == ["id", "object", "model", "data", "usage"]
    assert re.fullmatch(UUID, body["id"])
    assert (body["object"], body["model"]) == ("list", "embedder")
    assert list(body["usage"]) == ["prompt_tokens", "total_tokens"]
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


@both
def test_vectors_keep_the_order_of_their_inputs(many: Door, target: str):
    found = floats(many, target)
    assert found.shape == (len(BOTH[target]["input"]), 8)
    assert np.array_equal(found[0], found[-1])
    assert not np.array_equal(found[0], found[1])
    alone = [floats(many, target, input=[item])[0] for item in BOTH[target]["input"]]
    assert np.array_equal(found, np.array(alone))
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@both
@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}, {"encoding_format": None}])
def test_float_is_the_default_and_exact(many: Door, target: str, asked: dict[str, Any]):
    found = vectors(post(many, target, **asked))
    assert all(isinstance(x, float) for vector in found for x in vector)
    # Numbers are written so that nothing of the float32 is lost.
    exact = [
        np.frombuffer(base64.b64decode(v), "<f4")
        for v in vectors(post(many, target, encoding_format="base64"))
    ]
    assert np.array_equal(np.array(found, dtype=np.float32), np.array(exact))


@both
def test_base64_is_one_string_of_little_endian_float32(many: Door, target: str):
    found = vectors(post(many, target, encoding_format="base64"))
    assert all(re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text) for text in found)
    decoded = np.array([np.frombuffer(base64.b64decode(text), dtype="<f4") for text in found])
    assert np.array_equal(decoded, floats(many, target))


@both
def test_int8_and_uint8_have_one_whole_number_per_dimension(many: Door, target: str):
    expected = np.clip(np.rint(127 * floats(many, target).astype(np.float64)), -128, 127).astype(
        int
    )
    assert vectors(post(many, target, encoding_format="int8")) == expected.tolist()
    assert vectors(post(many, target, encoding_format="uint8")) == (expected + 128).tolist()


@both
@pytest.mark.parametrize("dimensions", [8, 5, 1])
def test_binary_packs_eight_signs_into_a_number(many: Door, target: str, dimensions: int):
    packed = np.packbits(floats(many, target, dimensions=dimensions) > 0, axis=1).astype(int)
    found = post(many, target, encoding_format="ubinary", dimensions=dimensions)
    assert vectors(found) == packed.tolist()
    signed = post(many, target, encoding_format="binary", dimensions=dimensions)
    assert vectors(signed) == (packed - 128).tolist()


@both
@pytest.mark.parametrize("encoding", ["foo", "Float", "hex", ""])
def test_another_encoding_is_refused(many: Door, target: str, encoding: str):
    answer = post(many, target, encoding_format=encoding)
    assert answer.status == 422
    assert answer.error["code"] == "parameter_not_supported"
    assert answer.error["detail"][0]["loc"] == ["body", "encoding_format"]
    assert answer.error["detail"][0]["input"] == encoding


@both
def test_shorter_vectors_where_the_model_has_them(many: Door, target: str):
    for dimensions in (8, 7, 1):
        found = floats(many, target, dimensions=dimensions)
        assert found.shape[1] == dimensions
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert floats(many, target, dimensions=None).shape[1] == 8


@both
@pytest.mark.parametrize("dimensions", [0, -1, 9, 2**31, 10**30])
def test_sizes_that_it_does_not_have_are_refused(many: Door, target: str, dimensions: int):
    answer = post(many, target, dimensions=dimensions)
    assert answer.status == 422
    assert answer.error["detail"][0]["loc"] == ["body", "dimensions"]


@both
def test_a_model_of_one_size_refuses_all_others(many: Door, target: str):
    assert post(many, target, model="second", dimensions=8).status == 200
    answer = post(many, target, model="second", dimensions=4)
    assert answer.status == 422
    assert "8" in answer.error["message"]


@both
def test_input_types(many: Door, target: str):
    for known in ("text", "query", "document", None):
        assert post(many, target, input_type=known).status == 200
    for unknown in ("search_query", "Query", ""):
        answer = post(many, target, input_type=unknown)
        assert answer.status == 422
        assert answer.error["detail"][0]["loc"] == ["body", "input_type"]


def test_one_text_may_come_without_its_list(many: Door):
    assert np.array_equal(
        floats(many, EMBEDDINGS, input="one"), floats(many, EMBEDDINGS, input=["one"])
    )
    assert post(many, EMBEDDINGS, input="").status == 200


def test_usage_counts_all_inputs(many: Door):
    assert post(many, EMBEDDINGS, input=["a b", "c", "d e f"]).json["usage"] == {
        "prompt_tokens": 6,
        "total_tokens": 6,
    }


@pytest.mark.parametrize(
    ("given", "status", "location"),
    [
        ([], 400, []),
        ([1, 2, 3], 422, []),
        ([[1, 2], [3]], 422, []),
        (["a", [1]], 422, []),
        (["a", None], 400, [1]),
        ([{"text": "a"}], 400, [0]),
        (["a", 1.5], 400, [1]),
        ({"text": "a"}, 400, []),
        (5, 400, []),
        (None, 400, []),
        (["a"] * 2049, 422, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_texts_are_refused_with_their_place(
    many: Door, given: Any, status: int, location: list[int]
):
    answer = post(many, EMBEDDINGS, input=given)
    assert answer.status == status
    assert answer.error["detail"][0]["loc"] == ["body", "input", *location]


@pytest.mark.parametrize(
    ("given", "status", "location"),
    [
        ([], 400, []),
        ([{}], 400, [0]),
        ([{"image": PNG}, {"text": "a"}], 400, [1]),
        ([{"image": None}], 400, [0, "image"]),
        ([{"image": 5}], 400, [0, "image"]),
        ([{"image": PNG, "text": 5}], 400, [0, "text"]),
        ([{"image": ""}], 400, [0, "image"]),
        ([{"image": PNG}, {"image": "https://example.org/a.png"}], 400, [1, "image"]),
        ([{"image": "file:///etc/passwd"}], 400, [0, "image"]),
        ([{"image": "data:image/png;base64,"}], 400, [0, "image"]),
        ([{"image": "data:image/png;base64,!!"}], 400, [0, "image"]),
        ([{"image": "data:image/png,raw"}], 400, [0, "image"]),
        ([PNG], 400, [0]),
        (PNG, 400, []),
        ({"image": PNG}, 400, []),
        (None, 400, []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_images_are_refused_with_their_place(
    many: Door, given: Any, status: int, location: list[Any]
):
    answer = post(many, IMAGES, input=given)
    assert answer.status == status
    assert answer.error["detail"][0]["loc"] == ["body", "input", *location]


def test_unknown_keys_of_an_image_are_ignored(many: Door):
    answer = post(many, IMAGES, input=[{"image": PNG, "text": None, "detail": "low"}])
    assert answer.status == 200
    odd = "DATA:IMAGE/PNG;charset=utf-8;BASE64," + base64.b64encode(b"\x89PNG one").decode()
    assert vectors(post(many, IMAGES, input=[{"image": odd}])) == vectors(answer)
