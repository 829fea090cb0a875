"""What an ONNX file says of itself, read without any library and without its weights.

An ONNX file is a protobuf message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). Only
the few fields on the way to its tensors are followed; all others are stepped over by their length.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

MAX_DEPTH = 16
"""Of graphs in branches and loops."""
MAX_FIELDS = 4_000_000
MAX_NAME_BYTES = 4096

_MODEL_GRAPH, _MODEL_FUNCTION, _IR_VERSION = 7, 25, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field -> message of that field: the ways from a model to its tensors.
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_DIMS, _ENTRY_KEY, _ENTRY_VALUE = 1, 1, 2


class OnnxOutline(Struct, frozen=True):
    """A network's weights."""

    parameters: int
    """Numbers in all its tensors."""
    external: tuple[str, ...]
    """Files that hold some of them, as the network names them."""


class NotOnnx(Exception):
    """The file is no ONNX network. The message is the end of a sentence."""


def read_outline(path: Path) -> OnnxOutline:
    """The weights of the network in `path`. Raises `NotOnnx`."""
    with path.open("rb") as file:
        walk = _Walk(file)
        walk.message("model", path.stat().st_size, 0)
    if not walk.has_graph:
        raise NotOnnx("it has no graph")
    return OnnxOutline(walk.parameters, tuple(sorted(walk.external)))


class _Walk:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._fields = 0
        self.parameters = 0
        self.external: set[str] = set()
        self.has_graph = False

    def message(self, kind: str, end: int, depth: int) -> None:
        """Step through a message that ends at byte `end`."""
        if depth > MAX_DEPTH * 4:
            raise NotOnnx("its graphs are nested too deeply")
        elements, dimensions = 1, False
        key, value = b"", b""
        for field, wire, number in self._fields_until(end):
            inner = _WAYS.get(kind, {}).get(field)
            if wire == _BYTES and inner is not None:
                self.has_graph = self.has_graph or inner == "graph"
                self.message(inner, self._file.tell() + number, depth + 1)
            elif kind == "tensor" and field == _DIMS:
                dimensions = True
                for extent in self._extents(wire, number):
                    elements *= extent
            elif kind == "entry" and wire == _BYTES:
                text = self._file.read(min(number, MAX_NAME_BYTES))
                self._file.seek(number - len(text), 1)
                key, value = (text, value) if field == _ENTRY_KEY else (key, text)
            elif wire == _BYTES:
                self._file.seek(number, 1)
        if kind == "tensor":
            self.parameters += elements if dimensions else 1
        elif kind == "entry" and key == b"location":
            self.external.add(value.decode("utf-8", "replace"))

    def _extents(self, wire: int, number: int) -> Iterator[int]:
        if wire != _BYTES:
            yield number
            return
        end = self._file.tell() + number
        while self._file.tell() < end:
            yield self._varint()

    def _fields_until(self, end: int) -> Iterator[tuple[int, int, int]]:
        """Field, wire type, and its number, or the length of the bytes that come next."""
        while (position := self._file.tell()) < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise NotOnnx("it has too many fields")
            tag = self._varint()
            field, wire = tag >> 3, tag & 7
            number = 0
            if wire in (_VARINT, _BYTES):
                number = self._varint()
            elif wire in (_FIXED64, _FIXED32):
                self._file.seek(8 if wire == _FIXED64 else 4, 1)
            else:
                raise NotOnnx(f"byte {position} begins nothing")
            if field == 0 or self._file.tell() + (number if wire == _BYTES else 0) > end:
                raise NotOnnx(f"a field at byte {position} is longer than its message")
            yield field, wire, number
        if position != end:
            raise NotOnnx("its lengths contradict each other")

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._file.read(1)
            if not byte:
                raise NotOnnx("it ends too early")
            number |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return number
        raise NotOnnx("a number in it has no end")
