"""Text embeddings through azure-ai-inference: encodings, order, meaning."""

import base64
import json
import math
import struct

import pytest
from azure.ai.inference.models import EmbeddingInputType
from azure.core.exceptions import HttpResponseError
from azure_checks import (
    AnyEmbeddingsClient,
    check_base64_embeddings,
    check_embeddings,
    check_embeddings_frame,
    settled,
)

PHRASES = ["first phrase", "second phrase", "third phrase"]
DIMENSIONS = 384


def _cosine(a: list[float], b: list[float]) -> float:
    return math.sumprod(a, b) if hasattr(math, "sumprod") else sum(map(float.__mul__, a, b))


async def test_texts_become_vectors(embeddings: AnyEmbeddingsClient):
    result = await settled(embeddings.embed(input=PHRASES))
    check_embeddings(result, count=3)
    for item in result.data:
        assert len(item.embedding) == DIMENSIONS
        assert math.hypot(*item.embedding) == pytest.approx(1, abs=1e-3)
    assert json.loads(str(result)) == result.as_dict()


async def test_vectors_mean_what_the_texts_mean(embeddings: AnyEmbeddingsClient):
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Stocks fell sharply."]
    result = await settled(embeddings.embed(input=texts))
    cat, kitten, stocks = (item.embedding for item in result.data)
    assert _cosine(cat, kitten) > 0.5 > _cosine(cat, stocks)


async def test_a_batch_is_the_same_as_one_by_one(embeddings: AnyEmbeddingsClient):
    batch = await settled(embeddings.embed(input=["tiny", "a rather longer text " * 10]))
    alone = await settled(embeddings.embed(input=["tiny"]))
    assert _cosine(batch.data[0].embedding, alone.data[0].embedding) > 0.99


async def test_base64_is_the_vectors_bytes(embeddings: AnyEmbeddingsClient):
    floats = await settled(embeddings.embed(input=PHRASES))
    encoded = await settled(embeddings.embed(input=PHRASES, encoding_format="base64"))
    check_base64_embeddings(encoded, count=3)
    for plain, packed in zip(floats.data, encoded.data, strict=True):
        vector = struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(packed.embedding))
        assert list(vector) == pytest.approx(plain.embedding, abs=1e-6)


@pytest.mark.parametrize(
    ("encoding", "length", "lowest", "highest"),
    [
        ("int8", DIMENSIONS, -128, 127),
        ("uint8", DIMENSIONS, 0, 255),
        ("binary", DIMENSIONS // 8, -128, 127),
        ("ubinary", DIMENSIONS // 8, 0, 255),
    ],
)
async def test_small_encodings_are_whole_numbers(
    embeddings: AnyEmbeddingsClient, encoding: str, length: int, lowest: int, highest: int
):
    result = await settled(embeddings.embed(input=PHRASES, encoding_format=encoding))
    check_embeddings_frame(result, count=3)
    for item in result.data:
        assert len(item.embedding) == length
        assert all(isinstance(number, int) for number in item.embedding)
        assert lowest <= min(item.embedding) < max(item.embedding) <= highest


async def test_bits_are_the_signs_of_the_floats(embeddings: AnyEmbeddingsClient):
    floats = await settled(embeddings.embed(input=["phrase"]))
    packed = await settled(embeddings.embed(input=["phrase"], encoding_format="ubinary"))
    bits = "".join(f"{number:08b}" for number in packed.data[0].embedding)
    assert bits == "".join("1" if x > 0 else "0" for x in floats.data[0].embedding)


async def test_binary_is_ubinary_shifted(embeddings: AnyEmbeddingsClient):
    signed = await settled(embeddings.embed(input=["phrase"], encoding_format="binary"))
    unsigned = await settled(embeddings.embed(input=["phrase"], encoding_format="ubinary"))
    shifted = [number - 128 for number in unsigned.data[0].embedding]
    assert signed.data[0].embedding == shifted


@pytest.mark.parametrize("input_type", list(EmbeddingInputType))
async def test_a_symmetric_model_takes_every_input_type(
    embeddings: AnyEmbeddingsClient, input_type: EmbeddingInputType
):
    result = await settled(embeddings.embed(input=PHRASES, input_type=input_type))
    check_embeddings(result, count=3)


async def test_the_models_own_dimensions_may_be_asked_for(embeddings: AnyEmbeddingsClient):
    result = await settled(embeddings.embed(input=PHRASES, dimensions=DIMENSIONS))
    check_embeddings(result, count=3)


async def test_other_dimensions_are_refused(embeddings: AnyEmbeddingsClient):
    with pytest.raises(HttpResponseError) as caught:
        await settled(embeddings.embed(input=PHRASES, dimensions=100))
    assert caught.value.status_code == 422
    assert caught.value.error.code == "parameter_not_supported"
    assert caught.value.response.json()["detail"][0]["loc"] == ["body", "dimensions"]


async def test_usage_counts_tokens(embeddings: AnyEmbeddingsClient):
    one = await settled(embeddings.embed(input=["word"]))
    two = await settled(embeddings.embed(input=["word", "word"]))
    more = await settled(embeddings.embed(input=["word word word word"]))
    assert two.usage.prompt_tokens == 2 * one.usage.prompt_tokens
    assert more.usage.prompt_tokens == one.usage.prompt_tokens + 3
