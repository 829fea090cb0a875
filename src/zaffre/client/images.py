"""Images as the wire has them: data URLs, made from bytes or files."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from zaffre.wire.embeddings import ImageItem

Image = bytes | str | os.PathLike[str]
"""The bytes of an image file, or the path of one."""

MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""A larger file is no image that a server would take, and would only fill the memory."""
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}


def data_url(image: Image) -> str:
    """`image` as a data URL, also for the `image_url` of a chat message.

    The media type is read from the first bytes: PNG, JPEG, GIF, WebP and BMP are known, anything
    else is `image/*`. Raises `OSError` when the file cannot be read, `ValueError` when it is empty
    or larger than `MAX_IMAGE_BYTES`.
    """
    content = image if isinstance(image, bytes) else _read(Path(image))
    if not content:
        raise ValueError("An image is empty.")
    if len(content) > MAX_IMAGE_BYTES:
        raise ValueError(f"An image is larger than {MAX_IMAGE_BYTES} bytes.")
    return f"data:{_media_type(content)};base64,{base64.b64encode(content).decode('ascii')}"


def read_images(
    images: Sequence[Image], captions: Sequence[str | None] | None = None
) -> list[ImageItem]:
    """The items of a request. Raises as `data_url` does, and `ValueError` for too few captions."""
    if isinstance(images, bytes | str):
        raise TypeError("Images come as a list, also when there is only one.")
    texts = [None] * len(images) if captions is None else captions
    if len(texts) != len(images):
        raise ValueError(f"{len(images)} images have {len(texts)} captions.")
    return [ImageItem(data_url(image), text) for image, text in zip(images, texts, strict=True)]


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_IMAGE_BYTES + 1)


def _media_type(content: bytes) -> str:
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for start, kind in _SIGNATURES.items() if content.startswith(start))
    return next(found, "image/*")
