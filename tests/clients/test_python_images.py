"""Image embeddings through azure-ai-inference: data URLs, captions, encodings."""

import math
from pathlib import Path

import pytest
from azure.ai.inference.models import ImageEmbeddingInput
from azure.core.exceptions import HttpResponseError
from azure_checks import (
    AnyImageEmbeddingsClient,
    check_base64_embeddings,
    check_embeddings,
    settled,
)

DIMENSIONS = 384


def _load(picture: Path, text: str | None = None) -> ImageEmbeddingInput:
    return ImageEmbeddingInput.load(image_file=str(picture), image_format="png", text=text)


async def test_an_image_becomes_a_vector(image_embeddings: AnyImageEmbeddingsClient, picture: Path):
    result = await settled(image_embeddings.embed(input=[_load(picture)]))
    check_embeddings(result, count=1)
    assert len(result.data[0].embedding) == DIMENSIONS
    assert math.hypot(*result.data[0].embedding) == pytest.approx(1, abs=1e-3)


async def test_a_caption_moves_the_vector(
    image_embeddings: AnyImageEmbeddingsClient, picture: Path
):
    inputs = [_load(picture), _load(picture, "a grey wall"), _load(picture, "a green frog")]
    result = await settled(image_embeddings.embed(input=inputs))
    check_embeddings(result, count=3)
    alone, wall, frog = (item.embedding for item in result.data)
    assert alone != wall != frog


async def test_an_image_comes_as_base64(image_embeddings: AnyImageEmbeddingsClient, picture: Path):
    result = await settled(image_embeddings.embed(input=[_load(picture)], encoding_format="base64"))
    check_base64_embeddings(result, count=1)


async def test_something_that_is_no_image_is_refused(
    image_embeddings: AnyImageEmbeddingsClient,
):
    nothing = ImageEmbeddingInput(image="data:image/png;base64,AAAA")
    with pytest.raises(HttpResponseError) as caught:
        await settled(image_embeddings.embed(input=[nothing]))
    assert caught.value.status_code == 400
    assert caught.value.error.code


async def test_an_address_of_an_image_is_refused(image_embeddings: AnyImageEmbeddingsClient):
    elsewhere = ImageEmbeddingInput(image="http://127.0.0.1:9/cat.png")
    with pytest.raises(HttpResponseError) as caught:
        await settled(image_embeddings.embed(input=[elsewhere]))
    assert caught.value.status_code in {400, 422}
    assert caught.value.error.code
