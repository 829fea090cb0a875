"""The JSON of embeddings, and the six encodings of a vector (contract, section 5)."""

import base64
import sys
from array import array
from collections.abc import Callable
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from zaffre.wire.usage import UsageBody

EncodingFormat = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
Encoded = list[float | int] | str


class EmbeddingRequest(Struct, omit_defaults=True, kw_only=True):
    """A text embedding request. Lists of numbers are token ids, which some dialects allow."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None
    input_type: str | None = None


class ImageItem(Struct, omit_defaults=True):
    """An image as a data URL, with a caption or not."""

    image: str
    text: str | None = None


class ImageEmbeddingRequest(Struct, omit_defaults=True, kw_only=True):
    """An image embedding request."""

    input: list[ImageItem]
    model: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None
    input_type: str | None = None


class EmbeddingItem(Struct):
    """One vector."""

    index: int
    embedding: Encoded
    object: str = "embedding"


class EmbeddingResponse(Struct, kw_only=True):
    """The vectors, in input order."""

    id: str | UnsetType = UNSET
    object: str = "list"
    model: str = ""
    data: list[EmbeddingItem] = []
    usage: UsageBody | UnsetType = UNSET


def _floats(vector: bytes) -> "array[float]":
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _int8(vector: bytes) -> list[float | int]:
    return [max(-128, min(127, round(127 * x))) for x in _floats(vector)]


def _packed_signs(vector: bytes) -> bytes:
    numbers = _floats(vector)
    bits = "".join("1" if x > 0 else "0" for x in numbers)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


_ENCODERS: dict[str, Callable[[bytes], Encoded]] = {
    "float": lambda vector: [*_floats(vector)],
    "base64": lambda vector: base64.b64encode(vector).decode("ascii"),
    "int8": _int8,
    "uint8": lambda vector: [x + 128 for x in _int8(vector)],
    "binary": lambda vector: [x - 128 for x in _packed_signs(vector)],
    "ubinary": lambda vector: list(_packed_signs(vector)),
}
ENCODINGS: tuple[str, ...] = tuple(_ENCODERS)


def encode_vector(vector: bytes, encoding: str) -> Encoded:
    """`vector`, little-endian float32 bytes of a unit vector, in one of `ENCODINGS`.

    - `float`: JSON numbers; `base64`: the bytes themselves.
    - `int8`: round(127 x), clamped to -128...127; `uint8`: that plus 128.
    - `ubinary`: one bit per dimension, 1 where x > 0, first dimension in the highest bit (as
      numpy.packbits); `binary`: that minus 128. The last byte is filled with zero bits.

    Cohere's convention where the contract leaves it open; its int8 uses calibrated ranges instead.
    """
    return _ENCODERS[encoding](vector)


def decode_vector(embedding: Encoded) -> bytes:
    """The little-endian float32 bytes of a vector that came as `float` or `base64`."""
    if isinstance(embedding, str):
        return base64.b64decode(embedding)
    numbers = array("f", embedding)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
