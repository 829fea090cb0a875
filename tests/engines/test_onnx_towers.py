"""Two-tower exports: CLIP and SigLIP give what the reference implementation gives."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx_models import TOWERS, matrix, running, towers
from tower_pictures import TEXTS, pictures

from zaffre.core.calls import EmbedCall, ImageEmbedCall, ImageInput
from zaffre.core.errors import EngineFailed, PromptTooLong
from zaffre.engines.onnx.engine import OnnxEngine

TOLERANCE = 1e-4
REFERENCE: dict[str, Any] = json.loads((TOWERS / "vectors.json").read_text())
# 32 / 8 patches each way (config.json).
PATCHES = 16


@pytest.fixture(params=["clip", "siglip"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def engine(architecture: str) -> AsyncIterator[OnnxEngine]:
    async with running(towers(architecture)) as engine:
        yield engine


async def test_images_match_the_reference(engine: OnnxEngine, architecture: str) -> None:
    expected = REFERENCE[architecture]["images"]
    given = pictures()

    found = await engine.embed_images(
        ImageEmbedCall(tuple(ImageInput(given[name]) for name in expected))
    )

    np.testing.assert_allclose(matrix(found), list(expected.values()), atol=TOLERANCE)
    assert found.usage.prompt_tokens == len(expected) * PATCHES


async def test_texts_match_the_reference_whatever_their_neighbours(
    engine: OnnxEngine, architecture: str
) -> None:
    expected = REFERENCE[architecture]["texts"]

    together = await engine.embed(EmbedCall(TEXTS))
    alone = [await engine.embed(EmbedCall((text,))) for text in TEXTS]

    np.testing.assert_allclose(matrix(together), expected, atol=TOLERANCE)
    np.testing.assert_allclose([matrix(one)[0] for one in alone], expected, atol=TOLERANCE)


async def test_usage_of_texts_counts_no_padding(engine: OnnxEngine, architecture: str) -> None:
    # "cat" is one piece; CLIP adds a start and an end, SigLIP a word mark and an end.
    found = await engine.embed(EmbedCall(("cat",)))

    assert found.usage.prompt_tokens == 3


async def test_an_image_with_a_text_lies_between_the_two(
    engine: OnnxEngine, architecture: str
) -> None:
    reference = REFERENCE[architecture]
    between = np.array(reference["images"]["wide"]) + np.array(reference["texts"][0])

    found = await engine.embed_images(
        ImageEmbedCall((ImageInput(pictures()["wide"], TEXTS[0]), ImageInput(pictures()["tall"])))
    )

    np.testing.assert_allclose(matrix(found)[0], between / np.linalg.norm(between), atol=TOLERANCE)
    np.testing.assert_allclose(matrix(found)[1], reference["images"]["tall"], atol=TOLERANCE)


async def test_a_long_caption_is_refused_where_it_stands() -> None:
    picture = pictures()["small"]
    async with running(towers("clip")) as engine:
        with pytest.raises(PromptTooLong) as refusal:
            await engine.embed_images(
                ImageEmbedCall((ImageInput(picture), ImageInput(picture, "cat " * 76)))
            )

    assert refusal.value.location == ("input", 1, "text")


async def test_capabilities_come_from_the_files(architecture: str) -> None:
    engine = OnnxEngine(towers(architecture))

    able = await engine.start()
    await engine.aclose()

    assert able.operations == {"embed", "embed_images"}
    assert able.image_captions
    assert able.context_length == {"clip": 77, "siglip": 64}[architecture]
    assert able.dimensions == {"clip": 12, "siglip": 8}[architecture]


async def test_without_a_text_network_images_have_no_captions(tmp_path: Path) -> None:
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    (folder / "text_model.onnx").unlink()
    engine = OnnxEngine(towers("clip", folder))

    able = await engine.start()
    found = await engine.embed_images(ImageEmbedCall((ImageInput(pictures()["wide"]),)))
    await engine.aclose()

    assert able.operations == {"embed_images"}
    assert not able.image_captions
    assert len(found.vectors) == 1


async def test_a_variant_is_run_when_it_is_named_only(tmp_path: Path) -> None:
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    (folder / "onnx").mkdir()
    for stem in ("text_model", "vision_model"):
        (folder / f"{stem}.onnx").rename(folder / "onnx" / f"{stem}_small.onnx")
    spec = towers("clip", folder)

    with pytest.raises(EngineFailed, match=r"'variant' to one of: small"):
        await OnnxEngine(spec).start()
    async with running(msgspec.structs.replace(spec, options={"variant": "small"})) as engine:
        found = await engine.embed(EmbedCall(TEXTS[:1]))

    np.testing.assert_allclose(matrix(found)[0], REFERENCE["clip"]["texts"][0], atol=TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resample": 99}, "no resample 99"),
        ({"size": {"longest_edge": 5}}, "'size' has no meaning"),
        ({"size": {"height": 0, "width": 4}}, "no image can have the size"),
        ({"crop_size": {"height": 4}}, "needs a height and a width"),
        ({"image_std": [1, 1, 0]}, "may not be zero"),
        ({"image_mean": "grey"}, "cannot be used"),
        ({"size": {"shortest_edge": 20}, "crop_size": 16}, "failed on a first try"),
    ],
)
async def test_a_preprocessor_that_makes_no_sense_is_refused_at_start(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    with pytest.raises(EngineFailed, match=message):
        await OnnxEngine(towers("clip", folder)).start()
