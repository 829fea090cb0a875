"""Tensors out of a PyTorch file (the format before 1.6), without PyTorch and without running it.

A `.pth` file is a pickle, and an ordinary unpickler calls whatever the file names. This one knows
four names, none of which does anything but hold numbers, and refuses every other.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from zaffre.registry.errors import PullFailed

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_ELEMENTS = 1 << 28

Array = NDArray[np.float32] | NDArray[np.int64]
Kind = TypeVar("Kind")


class _Storage(Struct, frozen=True):
    key: str
    dtype: str
    elements: int


class _View(Struct, frozen=True):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, Array]:
    """The named tensors of the state dictionary in `path`.

    Raises `PullFailed` when the file holds anything else than float32 and int64 tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    # What the unpickler raises on a malformed stream is whatever its opcodes stumble over.
    except (
        *(pickle.UnpicklingError, msgspec.ValidationError, EOFError),
        *(AttributeError, LookupError, TypeError, ValueError),
    ) as trouble:
        raise PullFailed(f"{path.name} is not a file of plain tensors: {trouble}.") from trouble


def _read(file: IO[bytes]) -> dict[str, Array]:
    if _load(file, int) != MAGIC or _load(file, int) != PROTOCOL:
        raise ValueError("it has no PyTorch header")
    if _load(file, dict[str, object]).get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    views = _load(file, dict[str, _View])
    keys = _load(file, list[str])
    storages = {view.storage.key: view.storage for view in views.values()}
    contents = {key: _read_storage(file, storages[key]) for key in keys}
    return {name: _materialise(view, contents[view.storage.key]) for name, view in views.items()}


def _load(file: IO[bytes], kind: type[Kind]) -> Kind:
    return msgspec.convert(_TensorUnpickler(file).load(), kind)


def _read_storage(file: IO[bytes], storage: _Storage) -> Array:
    elements = int.from_bytes(file.read(8), "little")
    if elements != storage.elements or elements > MAX_ELEMENTS:
        raise ValueError(f"storage {storage.key} has {elements} numbers, not {storage.elements}")
    content = file.read(elements * np.dtype(storage.dtype).itemsize)
    return np.frombuffer(content, storage.dtype, elements)


def _materialise(view: _View, content: Array) -> Array:
    steps = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((size - 1) * stride for size, stride in steps)
    if min((view.offset, *view.shape, *view.strides)) < 0 or last >= content.size:
        raise ValueError("a tensor lies outside its storage")
    item_bytes = content.itemsize
    strided = np.lib.stride_tricks.as_strided(
        content[view.offset :], view.shape, [stride * item_bytes for stride in view.strides]
    )
    return np.ascontiguousarray(strided)


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_rest: object
) -> _View:
    return _View(storage, offset, shape, strides)


_KNOWN_NAMES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> object:
        """What a name in the file stands for. Raises `UnpicklingError` on a name we do not know."""
        try:
            return _KNOWN_NAMES[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants to use {module_name}.{global_name}, which is refused"
            ) from None

    def persistent_load(self, pid: object) -> _Storage:
        """The storage that a tensor refers to; its numbers come later in the file."""
        match pid:
            case ("storage", str(dtype), str(key), _, int(elements), _):
                return _Storage(key, dtype, elements)
            case _:
                raise pickle.UnpicklingError("it refers to something that is no storage")
