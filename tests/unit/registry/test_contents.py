"""Contents: what a file is, whatever it is called."""

import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from zaffre.registry.contents import check_content, what_runs
from zaffre.registry.errors import FileRefused
from zaffre.registry.layouts import FileKind
from zaffre.registry.onnxfile import NotOnnx, read_outline

TOWERS = Path(__file__).parents[2] / "engines" / "towers"
NETWORK = TOWERS / "clip" / "text_model.onnx"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("thing", [OrderedDict(a=1), Path("x"), struct.Struct, [zipfile.ZipFile]])
def test_pickles_that_call_are_known_in_every_protocol(protocol: int, thing: object) -> None:
    content = pickle.dumps(thing, protocol)

    assert what_runs(content, raw=True) == "a pickle"


def test_the_old_format_of_pytorch_is_known() -> None:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)

    assert what_runs(magic + pickle.dumps(1001, 2), raw=True) == "a pickle"


@pytest.mark.parametrize("number", [np.float32, np.float16, np.int8, np.int64])
def test_numbers_are_no_code(number: type) -> None:
    generator = np.random.default_rng(7)
    for _ in range(200):
        content = (generator.standard_normal(512) * 40).astype(number).tobytes()
        assert what_runs(content, raw=True) is None


def test_bytes_that_begin_like_a_pickle_by_chance_are_numbers() -> None:
    chance = random.Random(7)  # noqa: S311
    taken = [what_runs(b"\x80\x02" + chance.randbytes(500), raw=True) for _ in range(200)]

    # Not all: what looks like one for a while is refused.
    assert taken.count(None) > 190


def test_a_network_is_read_without_a_library() -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model(str(NETWORK))
    in_graph = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    constants = [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.HasField("t")
    ]

    outline = read_outline(NETWORK)

    assert outline.external == ()
    assert outline.parameters == in_graph + sum(int(np.prod(t.dims)) for t in constants)


@pytest.mark.parametrize("length", [0, 1, 10, 1000, -1])
def test_a_cut_network_is_none(tmp_path: Path, length: int) -> None:
    cut = tmp_path / "model.onnx"
    cut.write_bytes(NETWORK.read_bytes()[:length])

    with pytest.raises(NotOnnx):
        read_outline(cut)


def test_no_bytes_make_the_reader_stumble(tmp_path: Path) -> None:
    chance, path = random.Random(7), tmp_path / "model.onnx"  # noqa: S311
    whole = NETWORK.read_bytes()
    for _ in range(200):
        broken = bytearray(whole)
        for _ in range(20):
            broken[chance.randrange(min(len(whole), 4000))] = chance.randrange(256)
        path.write_bytes(broken)
        try:
            read_outline(path)
        except NotOnnx:
            continue


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", b"{"),
        ("json", b"\xff{}"),
        ("xml", b"{}"),
        ("text", b"\xff\xfe"),
        ("gguf", b"GGML" + bytes(40)),
        ("gguf-part", b"GGUF" + bytes(4)),
        ("onnx", b"{}"),
        ("weights", b"\x7fELF" + bytes(40)),
        ("weights", b"\x93NUMPY" + bytes(40)),
        ("text", b"#!/bin/sh\n"),
        ("text", b"MZ" + bytes(40)),
    ],
)
def test_what_is_not_its_kind_is_refused(tmp_path: Path, kind: FileKind, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(FileRefused, match=r"^file is "):
        check_content(path, kind)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("json", b'{"a": 1}'),
        ("xml", b'<?xml version="1.0"?>\n<net/>'),
        ("text", "Lizenz für alle".encode()),
        ("weights", b"MZ" + bytes(40)),
        ("weights", b""),
        ("onnx", NETWORK.read_bytes()),
        ("gguf-part", b"GGUF\x03\x00\x00\x00"),
    ],
)
def test_what_is_its_kind_is_taken(tmp_path: Path, kind: FileKind, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    check_content(path, kind)
