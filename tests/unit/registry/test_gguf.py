"""The GGUF reader takes what is right, names what is wrong, and survives anything."""

import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zaffre.core.errors import EngineFailed
from zaffre.registry.gguf import TENSOR_TYPES, ArrayInfo, choose_engine, read_header

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 5, 6, 7, 8, 9, 10
F32, F16, Q4_1, Q4_K = 0, 1, 3, 12

Pair = tuple[str, int, bytes]
Tensor = tuple[str, tuple[int, ...], int, int]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def texts(values: list[str]) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def numbers(kind: int, layout: str, count: int) -> bytes:
    return struct.pack("<IQ", kind, count) + struct.pack(f"<{count}{layout}", *[1] * count)


TOKENS = ["<unk>", "<s>", "</s>", "a", "b", "ab"]

PAIRS: dict[str, tuple[int, bytes]] = {
    "general.architecture": (STRING, text("llama")),
    "general.name": (STRING, text("Tiny 한국어")),
    "general.file_type": (UINT32, u32(3)),
    "llama.context_length": (UINT32, u32(64)),
    "llama.embedding_length": (UINT32, u32(32)),
    "llama.block_count": (UINT32, u32(1)),
    "llama.attention.head_count": (UINT32, u32(2)),
    "llama.attention.layer_norm_rms_epsilon": (FLOAT32, struct.pack("<f", 1e-5)),
    "tokenizer.ggml.model": (STRING, text("gpt2")),
    "tokenizer.ggml.pre": (STRING, text("smollm")),
    "tokenizer.ggml.tokens": (ARRAY, texts(TOKENS)),
    "tokenizer.ggml.token_type": (ARRAY, numbers(INT32, "i", len(TOKENS))),
    "tokenizer.ggml.merges": (ARRAY, texts(["a b"])),
    "tokenizer.ggml.bos_token_id": (UINT32, u32(1)),
    "tokenizer.ggml.eos_token_id": (UINT32, u32(2)),
    "tokenizer.chat_template": (STRING, text("{{ messages }}")),
}
TENSORS: tuple[Tensor, ...] = (
    ("token_embd.weight", (32, 6), Q4_1, 0),
    ("output_norm.weight", (16,), F32, 128),
)
DATA = bytes(192)


def gguf_bytes(
    pairs: dict[str, tuple[int, bytes]] | None = None,
    tensors: tuple[Tensor, ...] = TENSORS,
    *,
    version: int = 3,
    content: bytes = DATA,
    counts: tuple[int, int] | None = None,
) -> bytes:
    chosen = PAIRS if pairs is None else pairs
    tensor_count, pair_count = counts or (len(tensors), len(chosen))
    out = b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count)
    for key, (kind, value) in chosen.items():
        out += text(key) + u32(kind) + value
    for name, shape, kind, offset in tensors:
        out += text(name) + u32(len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % 32) + content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def defect(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(EngineFailed) as caught:
        read_header(file)
    return caught.value.message


def test_a_header_is_read_as_it_was_written(file: Path):
    file.write_bytes(gguf_bytes())
    header = read_header(file)
    assert (header.version, header.architecture, header.name) == (3, "llama", "Tiny 한국어")
    assert (header.context_length, header.block_count, header.embedding_length) == (64, 1, 32)
    assert (header.tokenizer, header.vocabulary_size) == ("gpt2", 6)
    assert header.token_ids == {"bos": 1, "eos": 2}
    assert header.chat_template == "{{ messages }}"
    assert header.quantization == "Q4_1"
    assert header.metadata["tokenizer.ggml.tokens"] == ArrayInfo("string", 6)
    assert header.metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert [(t.name, t.type, t.size) for t in header.tensors] == [
        ("token_embd.weight", "Q4_1", 120),
        ("output_norm.weight", "F32", 64),
    ]
    assert header.data_offset == len(gguf_bytes()) - len(DATA)


def test_sizes_of_tensor_types_are_those_of_the_reference():
    for kind, sizes in GGML_QUANT_SIZES.items():
        if kind in {GGMLQuantizationType.Q8_1, GGMLQuantizationType.Q8_K}:
            continue  # never in a file
        assert TENSOR_TYPES[int(kind)] == (kind.name, *sizes)


def changed(key: str, kind: int, value: bytes) -> bytes:
    return gguf_bytes({**PAIRS, key: (kind, value)})


HUGE = struct.pack("<Q", 2**62)

DEFECTS = {
    "empty": (b"", "ends inside the magic number"),
    "other magic": (b"GGML" + gguf_bytes()[4:], "does not start with 'GGUF'"),
    "old version": (gguf_bytes(version=1), "version is 1"),
    "future version": (gguf_bytes(version=4), "version is 4"),
    "big endian": (gguf_bytes(version=3 << 24), "big-endian"),
    "many tensors": (gguf_bytes(counts=(2**62, 16)), f"claims {2**62} tensors"),
    "many keys": (gguf_bytes(counts=(2, 2**62)), f"claims {2**62} keys"),
    "long key": (gguf_bytes()[:24] + HUGE, f"claims {2**62} bytes"),
    "long text": (changed("general.name", STRING, HUGE), f"claims {2**62} bytes"),
    "long array": (changed("general.name", ARRAY, u32(4) + HUGE), f"claims {2**62} items"),
    "long text array": (changed("general.name", ARRAY, u32(STRING) + HUGE), "claims"),
    "long text in array": (
        changed("general.name", ARRAY, struct.pack("<IQ", STRING, 1) + HUGE),
        f"a text of {2**62} bytes",
    ),
    "nested array": (changed("general.name", ARRAY, struct.pack("<IQ", ARRAY, 1)), "type 9"),
    "unknown value type": (changed("general.name", 13, b""), "unknown type 13"),
    "no architecture": (gguf_bytes({}), "names no architecture"),
    "architecture of another type": (
        changed("general.architecture", UINT32, u32(1)),
        "'general.architecture' is not a text",
    ),
    "no context": (changed("llama.context_length", UINT32, u32(0)), "outside 1 to"),
    "huge context": (changed("llama.context_length", UINT64, HUGE), "outside 1 to"),
    "context as text": (changed("llama.context_length", STRING, text("8")), "not a whole number"),
    "odd alignment": (changed("general.alignment", UINT32, u32(48)), "not a power of two"),
    "no alignment": (changed("general.alignment", UINT32, u32(0)), "outside 1 to"),
    "token types": (
        changed("tokenizer.ggml.token_type", ARRAY, numbers(INT32, "i", 5)),
        "does not match its 6 tokens",
    ),
    "vocabulary": (
        changed("tokenizer.ggml.tokens", ARRAY, numbers(INT32, "i", 6)),
        "not a list of texts",
    ),
    "no tensors": (gguf_bytes(tensors=()), "no tensors"),
    "tensor name": (gguf_bytes(tensors=(("x" * 64, (32,), F32, 0),)), "claims 64 bytes"),
    "dimensions": (gguf_bytes(tensors=(("x", (1,) * 5, F32, 0),)), "5 dimensions"),
    "no extent": (gguf_bytes(tensors=(("x", (32, 0), F32, 0),)), "shape [32, 0]"),
    "overflow": (gguf_bytes(tensors=(("x", (2**33, 2**33), F32, 0),)), "shape"),
    "tensor type": (gguf_bytes(tensors=(("x", (32,), 4, 0),)), "unknown type 4"),
    "part of a block": (gguf_bytes(tensors=(("x", (40,), Q4_1, 0),)), "multiple of 32"),
    "offset": (gguf_bytes(tensors=(("x", (8,), F32, 8),)), "not aligned"),
    "far offset": (gguf_bytes(tensors=(("x", (8,), F32, 2**63),)), "cut short"),
    "overlap": (
        gguf_bytes(tensors=(("x", (16,), F32, 0), ("y", (16,), F32, 32))),
        "'x' and 'y' overlap",
    ),
    "same name": (gguf_bytes(tensors=(("x", (8,), F32, 0), ("x", (8,), F32, 32))), "same name"),
    "cut in a tensor": (gguf_bytes()[:-1], "cut short"),
    "cut in the header": (gguf_bytes()[:300], "ends inside"),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_a_defect_is_named(file: Path, case: str):
    content, named = DEFECTS[case]
    message = defect(file, content)
    assert named in message
    assert "model.gguf" in message


def test_a_key_may_stand_there_only_once(file: Path):
    twice = gguf_bytes().replace(b"llama.block_count", b"general.file_type")
    assert "'general.file_type' is there twice" in defect(file, twice)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    for path in (tmp_path, tmp_path / "nothing.gguf", tmp_path / "nul\0"):
        with pytest.raises(EngineFailed, match="There is no file"):
            read_header(path)


def test_a_special_token_outside_the_vocabulary_is_none(file: Path):
    file.write_bytes(changed("tokenizer.ggml.eos_token_id", UINT32, u32(2**32 - 1)))
    header = read_header(file)
    assert header.token_ids == {"bos": 1}
    assert choose_engine(header)[0] == "llama"


def test_a_part_of_a_split_model_may_be_without_tensors(file: Path):
    file.write_bytes(gguf_bytes({**PAIRS, "split.count": (UINT32, u32(2))}, ()))
    header = read_header(file)
    assert header.tensors == ()
    assert "several parts" in choose_engine(header)[1]


def test_a_large_vocabulary_takes_no_memory_of_its_own(file: Path):
    tokens = [f"token number {number}" for number in range(50_000)]
    pairs = {**PAIRS, "tokenizer.ggml.tokens": (ARRAY, texts(tokens))}
    pairs["tokenizer.ggml.token_type"] = (ARRAY, numbers(INT32, "i", len(tokens)))
    file.write_bytes(gguf_bytes(pairs))
    tracemalloc.start()
    header = read_header(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert header.vocabulary_size == 50_000
    assert peak < 3 * file.stat().st_size


SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MEMORY_BOUND = 16 * 2**20


def read_any(file: Path, content: bytes) -> None:
    """Read `content`, which may be anything: a header or `EngineFailed`, in little memory."""
    file.write_bytes(content)
    tracemalloc.start()
    try:
        with suppress(EngineFailed):
            assert read_header(file).architecture
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BOUND


@SETTINGS
@given(content=st.binary(max_size=400))
@example(content=b"GGUF" + struct.pack("<IQQ", 3, 2**17, 4096))
def test_random_bytes_are_refused(file: Path, content: bytes):
    read_any(file, content)
    read_any(file, b"GGUF" + struct.pack("<I", 3) + content)


@SETTINGS
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(gguf_bytes()) - 1), st.binary(min_size=1, max_size=9)),
        min_size=1,
        max_size=4,
    )
)
def test_mutated_headers_are_read_or_refused(file: Path, edits: list[tuple[int, bytes]]):
    content = bytearray(gguf_bytes())
    for place, patch in edits:
        content[place : place + len(patch)] = patch
    read_any(file, bytes(content))


def test_every_truncation_is_refused(file: Path):
    whole = gguf_bytes()
    for length in range(len(whole)):
        assert defect(file, whole[:length])


MATRICES = tuple(("output.weight", (256, 2), kind, 0) for kind in (F16, Q4_K))


def chosen(file: Path, content: bytes) -> tuple[str, str]:
    file.write_bytes(content)
    return choose_engine(read_header(file))


def test_openvino_is_chosen_for_what_its_reader_does_right(file: Path):
    engine, reason = chosen(file, gguf_bytes())
    assert engine == "openvino"
    assert "llama with Q4_1 weights" in reason


LLAMA_CASES = {
    "phi3": (changed("general.architecture", STRING, text("phi3")), "architecture is 'phi3'"),
    "spm": (changed("tokenizer.ggml.model", STRING, text("llama")), "of kind 'llama'"),
    "pre": (changed("tokenizer.ggml.pre", STRING, text("tekken")), "'tekken'"),
    "merges": (changed("tokenizer.ggml.merges", STRING, text("")), "no 'tokenizer.ggml.merges'"),
    "heads": (
        changed("llama.attention.head_count", ARRAY, numbers(INT32, "i", 1)),
        "no single value for 'llama.attention.head_count'",
    ),
    "no heads": (changed("llama.attention.head_count", UINT32, u32(0)), "no attention heads"),
    "rope": (changed("llama.rope.scaling.type", STRING, text("yarn")), "rope scaling"),
    "window": (changed("llama.attention.sliding_window", UINT32, u32(8)), "sliding window"),
    "Q4_K": (gguf_bytes(tensors=MATRICES[1:], content=bytes(288)), "is Q4_K"),
    "tensor": (
        gguf_bytes(tensors=(("rope_freqs.weight", (16,), F32, 0),)),
        "a tensor 'rope_freqs.weight'",
    ),
}


@pytest.mark.parametrize("case", LLAMA_CASES)
def test_llama_is_chosen_for_everything_else_and_says_why(file: Path, case: str):
    content, why = LLAMA_CASES[case]
    engine, reason = chosen(file, content)
    assert engine == "llama"
    assert why in reason
