"""Reading image files: every honest format and mode, and nothing hostile."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import TOWERS, towers
from PIL import Image

from zaffre.core.errors import InvalidParameter
from zaffre.engines.images import MAX_IMAGE_BYTES
from zaffre.engines.onnx.vision import ImageReader

PLACE = ("input", 3, "image")
READER = ImageReader(TOWERS / "siglip", towers("siglip").card)
"""Scales to 32 x 32 and maps 0..255 to -1..1."""


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def brightness(content: bytes) -> float:
    """Mean of the pixels, from 0 for black to 1 for white."""
    return float((READER.read(content, PLACE).mean() + 1) / 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_raster_formats_are_read(kind: str) -> None:
    content = saved(Image.new("RGB", (40, 30), (200, 100, 0)), kind)

    pixels = READER.read(content, PLACE)

    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(
        pixels.mean(axis=(1, 2)), np.array([200, 100, 0]) / 127.5 - 1, atol=0.05
    )


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (8, 8), 128), "PNG", 0.5),
        (Image.new("1", (8, 8), 1), "PNG", 1.0),
        (Image.new("P", (8, 8), 0), "GIF", 0.0),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", 1.0),
        (Image.new("LA", (8, 8), (0, 0)), "PNG", 1.0),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG", 0.5),
        (Image.fromarray(np.full((8, 8), 32768, np.uint16)), "PNG", 0.5),
    ],
    ids=["grey", "black-white", "palette", "cmyk", "invisible", "half-visible", "16 bits"],
)
def test_modes_become_colours(image: Image.Image, kind: str, expected: float) -> None:
    assert brightness(saved(image, kind)) == pytest.approx(expected, abs=0.01)


def test_a_transparent_palette_shows_white() -> None:
    image = Image.new("P", (8, 8), 0)

    assert brightness(saved(image, "PNG", transparency=0)) == pytest.approx(1)


def test_exif_orientation_is_obeyed() -> None:
    # White above black, but the camera was held so that the top is on the right.
    image = Image.new("L", (32, 32), 0)
    image.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6

    pixels = READER.read(saved(image, "JPEG", exif=exif, quality=95), PLACE)

    assert pixels[:, :, 20:].mean() > 0.9
    assert pixels[:, :, :12].mean() < -0.9


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (255, 0)]

    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert brightness(content) == pytest.approx(1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%PDF-1.7",
        saved(Image.new("RGB", (8, 8)), "TIFF"),
        saved(Image.new("RGB", (8, 8)), "PPM"),
        saved(Image.effect_noise((64, 64), 50), "PNG")[:-200],
        saved(Image.effect_noise((64, 64), 50), "JPEG")[:-200],
        saved(Image.effect_noise((64, 64), 50), "WEBP")[:-200],
        b"\x00" * (MAX_IMAGE_BYTES + 1),
    ],
    ids=["empty", "text", "svg", "pdf", "tiff", "ppm", "cut png", "cut jpeg", "cut webp", "large"],
)
def test_what_is_no_whole_image_is_refused_where_it_stands(content: bytes) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        READER.read(content, PLACE)

    assert refusal.value.location == PLACE


@pytest.mark.parametrize(("width", "height"), [(9000, 9000), (30_000, 30_000), (2**31 - 1, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    with pytest.raises(InvalidParameter, match="pixels"):
        READER.read(_png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100))]), PLACE)


def test_a_line_is_not_blown_up_into_a_field() -> None:
    # The shorter edge becomes 36: the longer one would become 36 x 65,000 times as long.
    reader = ImageReader(TOWERS / "clip", towers("clip").card)
    line = saved(Image.new("L", (65_000, 1)), "PNG")

    with pytest.raises(InvalidParameter, match="too narrow: 65000 x 1"):
        reader.read(line, PLACE)


def test_missing_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"no preprocessor_config\.json"):
        ImageReader(tmp_path, towers("clip").card)


NOISE = saved(Image.effect_noise((24, 24), 80), "PNG")
FILES = [NOISE] + [saved(Image.effect_noise((24, 24), 80), kind) for kind in ("JPEG", "GIF", "BMP")]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_broken_files_are_read_or_refused_and_nothing_else(
    content: bytes, changes: list[tuple[int, int]]
) -> None:
    broken = bytearray(content)
    for place, byte in changes:
        broken[place % len(broken)] = byte

    with suppress(InvalidParameter):
        assert READER.read(bytes(broken), PLACE).shape == (3, 32, 32)


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in [*chunks, (b"IEND", b"")]:
        checked = kind + content
        parts.append(
            struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
        )
    return b"".join(parts)
