"""Reading PyTorch files: numbers come out, and nothing in the file is ever called."""

import struct
from pathlib import Path

import numpy as np
import pytest

from zaffre.registry.errors import PullFailed
from zaffre.registry.torchfile import MAGIC, read_tensors

FLOATS = np.arange(12, dtype=np.float32)


def state(shape: str = "(I3\nI4\nt", strides: str = "(I4\nI1\nt", offset: int = 0) -> bytes:
    """A pickle of {"weight": tensor over storage "0" of 12 floats}, as PyTorch writes it."""
    storage = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI12\nNtQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{shape}{strides}I00\nNtR"
    return f"ccollections\nOrderedDict\n)R(S'weight'\n{tensor}u.".encode()


def torch_file(path: Path, views: bytes, content: bytes = FLOATS.tobytes()) -> Path:
    header = f"L{MAGIC}L\n.I1001\n.(S'little_endian'\nI01\nd.".encode()
    keys = b"(S'0'\nl."
    path.write_bytes(header + views + keys + struct.pack("<q", len(content) // 4) + content)
    return path


def test_a_tensor_comes_out(tmp_path: Path) -> None:
    found = read_tensors(torch_file(tmp_path / "a.pth", state()))

    assert list(found) == ["weight"]
    np.testing.assert_array_equal(found["weight"], FLOATS.reshape(3, 4))


def test_strides_and_offsets_are_obeyed(tmp_path: Path) -> None:
    views = state("(I4\nI2\nt", "(I1\nI4\nt", offset=4)

    found = read_tensors(torch_file(tmp_path / "a.pth", views))

    np.testing.assert_array_equal(found["weight"], FLOATS.reshape(3, 4)[1:].T)


@pytest.mark.parametrize(
    "views",
    [
        state("(I3\nI5\nt"),
        state("(I3\nI4\nt", "(I5\nI1\nt"),
        state(offset=1),
        state(offset=-1),
        state("(I3\nt", "(I-1\nt", offset=4),
        state("(I-3\nI4\nt"),
    ],
    ids=["wide", "far", "late", "early", "backwards", "negative"],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path, views: bytes) -> None:
    with pytest.raises(PullFailed, match="outside its storage"):
        read_tensors(torch_file(tmp_path / "a.pth", views))


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\neval",
        "builtins\ngetattr",
        "torch\nload",
        "torch._utils\n_rebuild_parameter",
        "collections\nCounter",
        "zaffre.registry.torchfile\nread_tensors",
    ],
)
def test_a_file_that_names_anything_else_is_refused(tmp_path: Path, name: str) -> None:
    witness = tmp_path / "witness"
    views = f"c{name}\n(S'touch {witness}'\ntR.".encode()

    with pytest.raises(PullFailed, match="which is refused"):
        read_tensors(torch_file(tmp_path / "a.pth", views))

    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"I7\n.", b"\x80\x05garbage", b"(S'a'\nd.", b"S'unended"],
    ids=["empty", "zip", "number", "garbage", "odd dictionary", "unended"],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)

    with pytest.raises(PullFailed, match=r"a\.pth is not a file of plain tensors"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", FLOATS.tobytes()[:-4], FLOATS.tobytes() + b"\0\0\0\0"])
def test_a_storage_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PullFailed, match="numbers, not 12"):
        read_tensors(torch_file(tmp_path / "a.pth", state(), content))
