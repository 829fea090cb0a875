"""Embeddings as a program wants them: float32 vectors, exactly as the server had them."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from msgspec import UnsetType

from zaffre.client.errors import InvalidAnswer
from zaffre.wire.embeddings import EmbeddingResponse, decode_vector
from zaffre.wire.usage import UsageBody


class Vectors(Sequence["array[float]"]):
    """The vectors of the inputs, in their order: a sequence of `array("f")`.

    An array is a buffer of float32, which `numpy.frombuffer(vector, "f")` reads without a copy.
    `model` is the name that the server gave, `usage` what the request cost.
    """

    def __init__(self, vectors: "list[array[float]]", model: str, usage: UsageBody) -> None:
        self._vectors = vectors
        self.model = model
        self.usage = usage

    def __len__(self) -> int:
        return len(self._vectors)

    def __iter__(self) -> "Iterator[array[float]]":
        return iter(self._vectors)

    @overload
    def __getitem__(self, index: int) -> "array[float]": ...
    @overload
    def __getitem__(self, index: slice) -> "list[array[float]]": ...
    def __getitem__(self, index: int | slice) -> "array[float] | list[array[float]]":
        return self._vectors[index]

    def __repr__(self) -> str:
        return f"Vectors({self._vectors!r}, model={self.model!r}, usage={self.usage!r})"


def read_vectors(response: EmbeddingResponse, count: int) -> Vectors:
    """The vectors of an answer to `count` inputs, put into input order.

    Raises `InvalidAnswer` unless there is exactly one for each input, all of one length.
    """
    items = sorted(response.data, key=lambda item: item.index)
    if [item.index for item in items] != list(range(count)):
        raise InvalidAnswer(f"The server answered {count} inputs with {len(items)} vectors.")
    try:
        vectors = [_floats(decode_vector(item.embedding)) for item in items]
    except (ValueError, OverflowError, TypeError) as broken:
        raise InvalidAnswer(f"The server sent a broken vector: {broken}.") from None
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidAnswer("The server sent vectors of different lengths.")
    usage = UsageBody() if isinstance(response.usage, UnsetType) else response.usage
    return Vectors(vectors, response.model, usage)


def _floats(content: bytes) -> "array[float]":
    vector = array("f", content)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
