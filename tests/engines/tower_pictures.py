"""Pictures and texts for the tiny two-tower models: when they were made and in the tests."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

TEXTS = ("a photo of a cat", "two dogs", "", "the quick brown fox jumps over 13 lazy dogs!")


def pictures() -> dict[str, bytes]:
    """Small pictures of all shapes and modes, the same every time, as PNG files."""
    return {
        "wide": _png(_pattern(37, 90, 3), "RGB"),
        "tall": _png(_pattern(81, 40, 3), "RGB"),
        "small": _png(_pattern(9, 12, 3), "RGB"),
        "see-through": _png(_pattern(50, 50, 4), "RGBA"),
        "grey": _png(_pattern(45, 33, 1)[:, :, 0], "L"),
    }


def _pattern(height: int, width: int, channels: int) -> Pixels:
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    noise = ((x * 7 + y * 13 + c * 5) % 11) / 11
    waves = np.sin(x * (0.21 + 0.1 * c)) + np.cos(y * 0.17 - c) + noise
    scaled: Pixels = ((waves - waves.min()) / np.ptp(waves) * 255).astype(np.uint8)
    return scaled


def _png(pixels: Pixels, mode: str) -> bytes:
    file = BytesIO()
    image = Image.fromarray(pixels)
    assert image.mode == mode
    image.save(file, "PNG")
    return file.getvalue()
