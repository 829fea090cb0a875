"""The image-embedding starter: real photographs meet real captions."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx_models import matrix, running, starter
from photos import CAPTIONS, fetch_photos
from PIL import Image

from zaffre.core.calls import EmbedCall, ImageEmbedCall, ImageInput
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import InvalidParameter
from zaffre.engines.onnx.engine import OnnxEngine
from zaffre.engines.onnx.vision import ImageReader

# 7 x 7 cells of EfficientNet's last feature map.
CELLS = 49
TRIPOD, ESPRESSO = 872, 967


@pytest.fixture(scope="module")
def photos(pytestconfig: pytest.Config) -> dict[str, bytes]:
    folder = pytestconfig.rootpath / ".pytest_cache" / "zaffre-photos"
    folder.mkdir(parents=True, exist_ok=True)
    return fetch_photos(folder)


@pytest.fixture(scope="module")
def spec() -> EngineSpec:
    return starter("conse-efficientnet-lite0-minilm")


@pytest.fixture(scope="module")
async def engine(spec: EngineSpec) -> AsyncIterator[OnnxEngine]:
    async with running(spec) as engine:
        yield engine


@pytest.mark.parametrize(("name", "label"), [("camera.png", TRIPOD), ("coffee.png", ESPRESSO)])
def test_the_classifier_was_rebuilt_right(
    spec: EngineSpec, photos: dict[str, bytes], name: str, label: int
) -> None:
    # The checkpoint's own ImageNet classes: a wrong padding, stride or order loses them.
    network = onnxruntime.InferenceSession(str(Path(spec.path) / "vision_model.onnx"))
    pixels = ImageReader(Path(spec.path), spec.card).read(photos[name], ("input", 0))

    logits = network.run(["logits"], {"pixel_values": pixels[None]})[0][0]

    probabilities = np.exp(logits - logits.max())
    assert logits.argmax() == label
    assert probabilities[label] / probabilities.sum() > 0.9


async def test_photos_find_their_captions_and_captions_their_photos(
    engine: OnnxEngine, photos: dict[str, bytes]
) -> None:
    call = ImageEmbedCall(tuple(ImageInput(photos[name]) for name in CAPTIONS))

    images = await engine.embed_images(call)
    texts = await engine.embed(EmbedCall(tuple(CAPTIONS.values())))

    likeness = matrix(images) @ matrix(texts).T
    assert likeness.argmax(axis=0).tolist() == likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert images.usage.prompt_tokens == len(CAPTIONS) * CELLS


async def test_a_caption_moves_an_image_towards_it(
    engine: OnnxEngine, photos: dict[str, bytes]
) -> None:
    picture = photos["chelsea.png"]

    found = await engine.embed_images(
        ImageEmbedCall((ImageInput(picture), ImageInput(picture, "a cup of espresso")))
    )
    text = matrix(await engine.embed(EmbedCall(("a cup of espresso",))))[0]

    plain, moved = matrix(found)
    between = plain + text
    np.testing.assert_allclose(moved, between / np.linalg.norm(between), atol=1e-4)
    caption = ["[CLS]", "a", "cup", "of", "es", "##press", "##o", "[SEP]"]
    assert found.usage.prompt_tokens == 2 * CELLS + len(caption)


async def test_many_images_keep_their_order(engine: OnnxEngine, photos: dict[str, bytes]) -> None:
    # More than are held as pixels at once.
    names = [list(CAPTIONS)[i % 4] for i in range(21)]
    small = {name: _shrunk(photos[name]) for name in CAPTIONS}

    found = matrix(
        await engine.embed_images(ImageEmbedCall(tuple(ImageInput(small[n]) for n in names)))
    )
    alone = {
        name: matrix(await engine.embed_images(ImageEmbedCall((ImageInput(small[name]),))))[0]
        for name in CAPTIONS
    }

    for name, vector in zip(names, found, strict=True):
        np.testing.assert_allclose(vector, alone[name], atol=1e-4)


async def test_parallel_images_and_texts_get_their_own_answers(
    engine: OnnxEngine, photos: dict[str, bytes]
) -> None:
    pictures = [_shrunk(photos[name]) for name in CAPTIONS]
    images = [ImageEmbedCall((ImageInput(pictures[i % 4]),)) for i in range(8)]
    texts = [EmbedCall((caption,)) for caption in CAPTIONS.values()] * 2

    answers = await asyncio.gather(
        *(engine.embed_images(call) for call in images), *(engine.embed(call) for call in texts)
    )

    vectors = [matrix(answer)[0] for answer in answers]
    for place in range(4):
        np.testing.assert_allclose(vectors[place], vectors[place + 4], atol=1e-4)
        own = [vectors[place] @ vectors[8 + other] for other in range(4)]
        assert int(np.argmax(own)) == place


async def test_one_broken_image_is_named_and_spoils_nothing_else(
    engine: OnnxEngine, photos: dict[str, bytes]
) -> None:
    broken = photos["rocket.jpg"][:5000]
    good = ImageInput(_shrunk(photos["coffee.png"]))

    refused, served = await asyncio.gather(
        engine.embed_images(ImageEmbedCall((good, ImageInput(broken)))),
        engine.embed_images(ImageEmbedCall((good,))),
        return_exceptions=True,
    )

    assert isinstance(refused, InvalidParameter)
    assert refused.location == ("input", 1, "image")
    assert not isinstance(served, BaseException)


def _shrunk(photo: bytes) -> bytes:
    file = BytesIO()
    with Image.open(BytesIO(photo)) as image:
        image.convert("RGB").resize((256, 256)).save(file, "JPEG", quality=90)
    return file.getvalue()
