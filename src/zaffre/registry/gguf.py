"""Reading the header of a GGUF file, so that no native library ever sees a bad one.

The format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) is a list of key-value pairs,
a list of tensor descriptions, and the tensors. Everything in front of the tensors is checked here:
native readers follow a wrong length or offset out of their memory, and then the process is gone.
"""

import re
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from msgspec import Struct

from zaffre.core.errors import EngineFailed

MAX_HEADER_BYTES = 256 * 2**20
"""Key-value pairs and tensor descriptions together; 260k tokens with merges take about 20 MB."""
MAX_PAIRS = 4096
MAX_TENSORS = 2**17
MAX_KEY_BYTES = 65535
MAX_STRING_BYTES = 4 * 2**20
"""One string value; the longest in use are chat templates, of some 10 kB."""
MAX_STRINGS = 2**22
"""Items of all string arrays together: what bounds the time a header takes to read."""
MAX_ARRAY_ITEMS = 2**28
MAX_TENSOR_NAME_BYTES = 63
MAX_DIMENSIONS = 4
MAX_TENSOR_ITEMS = 2**48
MAX_ALIGNMENT = 2**16
MAX_CONTEXT_TOKENS = 2**28
MAX_BLOCKS = 4096
MAX_EMBEDDING = 2**20
_CHUNK_BYTES = 4 * 2**20

VERSIONS = (2, 3)

Scalar = int | float | bool | str


class ArrayInfo(Struct, frozen=True):
    """An array in the header, not read: the name of its items' type and their number."""

    item_type: str
    length: int


class TensorInfo(Struct, frozen=True):
    """One tensor's description. `offset` counts bytes from the start of the tensors."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int


class GgufHeader(Struct, frozen=True, kw_only=True):
    """What a GGUF file says about itself, checked against its own size."""

    version: int
    file_size: int
    architecture: str
    """llama.cpp's word for the model's structure: `llama`, `phi3`, `qwen2`, ..."""
    name: str
    context_length: int | None
    """Tokens the model was trained on."""
    block_count: int | None
    embedding_length: int | None
    quantization: str
    """The type that most of the weights' bytes have: `Q4_1`, `F16`, ..."""
    chat_template: str | None
    """Jinja source."""
    tokenizer: str | None
    """`gpt2` (byte-pair), `llama` (SentencePiece), ..., or None when the file has no vocabulary."""
    vocabulary_size: int
    token_ids: dict[str, int]
    """Special tokens by llama.cpp's name: `bos`, `eos`, `eot`, `unknown`, `padding`, ... An id that
    is outside the vocabulary (files use one to say "none") is left out."""
    metadata: Mapping[str, Scalar | ArrayInfo]
    """All pairs as they stand; arrays only by type and length."""
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    """Where in the file the tensors start."""


_SCALARS: dict[int, tuple[str, struct.Struct]] = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
_STRING, _ARRAY = 8, 9
_TOKEN_PREFIX, _TOKEN_SUFFIX = "tokenizer.ggml.", "_token_id"

TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}
"""Tensor type -> its name, the weights in one block, and the bytes of one block. Without Q8_1 and
Q8_K, which are for intermediate results."""

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def read_header(path: str | Path) -> GgufHeader:
    """Read and check the header of the GGUF file at `path`.

    Reads no more than the header, in time proportional to the size of the vocabulary (some 30 ms
    for 50,000 tokens). Raises `EngineFailed` that names the defect, and nothing else.
    """
    file = Path(path)
    if not file.is_file():
        raise EngineFailed(f"There is no file '{file}'.")
    try:
        with file.open("rb") as source:
            size = file.stat().st_size
            return _Parser(source, size).parse()
    except OSError as error:
        raise EngineFailed(f"Cannot read {file.name}: {error.strerror or error}.") from error
    except _Defect as defect:
        raise EngineFailed(f"{file.name} is not a usable GGUF file: {defect}.") from defect


class _Defect(Exception):
    """What is wrong with the file, as the end of a sentence."""


class _Parser:
    """Walks through a header once. Holds the header's bytes only, never a tensor's."""

    def __init__(self, source: BinaryIO, file_size: int) -> None:
        self._source = source
        self._file_size = file_size
        self._seen = bytearray()
        self._position = 0
        self._strings_left = MAX_STRINGS

    def parse(self) -> GgufHeader:
        version, tensor_count, pair_count = self._read_preamble()
        metadata: dict[str, Scalar | ArrayInfo] = {}
        for number in range(pair_count):
            key = self._text(MAX_KEY_BYTES, f"the name of key {number}")
            if key in metadata:
                raise _Defect(f"the key '{key}' is there twice")
            metadata[key] = self._value(key)
        tensors = tuple(self._tensor() for _ in range(tensor_count))
        alignment = _bounded(metadata, "general.alignment", 1, MAX_ALIGNMENT) or 32
        if alignment & (alignment - 1):
            raise _Defect(f"the alignment {alignment} is not a power of two")
        data_offset = -(-self._position // alignment) * alignment
        _check_tensors(tensors, alignment, self._file_size - data_offset, metadata)
        return _header(version, self._file_size, metadata, tensors, data_offset)

    def _read_preamble(self) -> tuple[int, int, int]:
        if self._take(4, "the magic number") != b"GGUF":
            raise _Defect("it does not start with 'GGUF'")
        version = self._number(_U32, "the version")
        if version & 0xFFFF == 0:
            raise _Defect("it was written for a big-endian machine")
        if version not in VERSIONS:
            raise _Defect(f"its version is {version}; known are {VERSIONS[0]} and {VERSIONS[1]}")
        tensor_count = self._number(_U64, "the number of tensors")
        pair_count = self._number(_U64, "the number of keys")
        if tensor_count > MAX_TENSORS:
            raise _Defect(f"it claims {tensor_count} tensors; at most {MAX_TENSORS} are allowed")
        if pair_count > MAX_PAIRS:
            raise _Defect(f"it claims {pair_count} keys; at most {MAX_PAIRS} are allowed")
        return version, tensor_count, pair_count

    def _require(self, end: int, what: str) -> None:
        """Have the bytes up to `end` in `_seen`."""
        if end <= len(self._seen):
            return
        if end > self._file_size:
            raise _Defect(
                f"it ends inside {what}: {end} bytes are needed and {self._file_size} are there"
            )
        if end > MAX_HEADER_BYTES:
            raise _Defect(f"its header is longer than {MAX_HEADER_BYTES} bytes")
        ahead = max(end, min(len(self._seen) + _CHUNK_BYTES, self._file_size))
        self._seen += self._source.read(ahead - len(self._seen))
        if end > len(self._seen):
            raise _Defect(f"it became shorter while {what} was read")

    def _take(self, count: int, what: str) -> bytes:
        start = self._position
        self._require(start + count, what)
        self._position = start + count
        return bytes(self._seen[start : start + count])

    def _number(self, layout: struct.Struct, what: str) -> int:
        number: int = layout.unpack(self._take(layout.size, what))[0]
        return number

    def _text(self, maximum: int, what: str) -> str:
        length = self._number(_U64, f"the length of {what}")
        if length > maximum:
            raise _Defect(f"{what} claims {length} bytes; at most {maximum} are allowed")
        # Values are shown, never compared: a stray byte in a description is no reason to refuse.
        return self._take(length, what).decode(errors="replace")

    def _value(self, key: str) -> Scalar | ArrayInfo:
        what = f"the value of '{key}'"
        kind = self._number(_U32, what)
        if kind == _STRING:
            return self._text(MAX_STRING_BYTES, what)
        if kind == _ARRAY:
            return self._array(what)
        if kind not in _SCALARS:
            raise _Defect(f"{what} has the unknown type {kind}")
        layout = _SCALARS[kind][1]
        number: Scalar = layout.unpack(self._take(layout.size, what))[0]
        return number

    def _array(self, what: str) -> ArrayInfo:
        kind = self._number(_U32, what)
        length = self._number(_U64, what)
        if length > MAX_ARRAY_ITEMS:
            raise _Defect(f"{what} claims {length} items; at most {MAX_ARRAY_ITEMS} are allowed")
        if kind == _STRING:
            self._skip_strings(length, what)
            return ArrayInfo("string", length)
        if kind not in _SCALARS:
            raise _Defect(f"{what} is an array of the unknown type {kind}")
        name, layout = _SCALARS[kind]
        end = self._position + length * layout.size
        self._require(end, what)
        self._position = end
        return ArrayInfo(name, length)

    def _skip_strings(self, count: int, what: str) -> None:
        if count > self._strings_left:
            raise _Defect(f"its arrays hold more than {MAX_STRINGS} texts")
        self._strings_left -= count
        # Hot loop, 100,000 rounds for a small vocabulary: no calls but these.
        position, seen, unpack = self._position, self._seen, _U64.unpack_from
        for _ in range(count):
            if position + 8 > len(seen):
                self._require(position + 8, what)
            length = unpack(seen, position)[0]
            if length > MAX_STRING_BYTES:
                raise _Defect(f"{what} has a text of {length} bytes")
            position += 8 + length
        self._require(position, what)
        self._position = position

    def _tensor(self) -> TensorInfo:
        name = self._text(MAX_TENSOR_NAME_BYTES, "a tensor's name")
        what = f"the description of tensor '{name}'"
        dimensions = self._number(_U32, what)
        if dimensions > MAX_DIMENSIONS:
            raise _Defect(f"tensor '{name}' has {dimensions} dimensions")
        shape = tuple(self._number(_U64, what) for _ in range(dimensions))
        kind = self._number(_U32, what)
        offset = self._number(_U64, what)
        if kind not in TENSOR_TYPES:
            raise _Defect(f"tensor '{name}' has the unknown type {kind}")
        type_name, block, block_size = TENSOR_TYPES[kind]
        items = 1
        for extent in shape:
            items *= extent
            if not 0 < items <= MAX_TENSOR_ITEMS:
                raise _Defect(f"tensor '{name}' has the shape {list(shape)}")
        if (shape[0] if shape else 1) % block:
            raise _Defect(
                f"the rows of tensor '{name}' are no multiple of {block}, as {type_name} needs"
            )
        return TensorInfo(name, shape, type_name, offset, items // block * block_size)


def _check_tensors(
    tensors: tuple[TensorInfo, ...],
    alignment: int,
    room: int,
    metadata: Mapping[str, Scalar | ArrayInfo],
) -> None:
    """Whether all tensors lie in the `room` bytes behind the header, each in its own place."""
    if not tensors and "split.count" not in metadata:
        raise _Defect("it has no tensors")
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise _Defect("two of its tensors have the same name")
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda each: each.offset):
        if tensor.offset % alignment:
            raise _Defect(f"tensor '{tensor.name}' is not aligned to {alignment} bytes")
        if tensor.offset < end:
            raise _Defect(f"the tensors '{before}' and '{tensor.name}' overlap")
        end, before = tensor.offset + tensor.size, tensor.name
    if end > room:
        raise _Defect(f"it is cut short: its tensors take {end} bytes and {max(room, 0)} are there")


def _header(
    version: int,
    file_size: int,
    metadata: dict[str, Scalar | ArrayInfo],
    tensors: tuple[TensorInfo, ...],
    data_offset: int,
) -> GgufHeader:
    architecture = _string(metadata, "general.architecture")
    if not architecture:
        raise _Defect("it names no architecture")
    vocabulary = _vocabulary(metadata)
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.type] += tensor.size
    return GgufHeader(
        version=version,
        file_size=file_size,
        architecture=architecture,
        name=_string(metadata, "general.name") or "",
        context_length=_bounded(metadata, f"{architecture}.context_length", 1, MAX_CONTEXT_TOKENS),
        block_count=_bounded(metadata, f"{architecture}.block_count", 1, MAX_BLOCKS),
        embedding_length=_bounded(metadata, f"{architecture}.embedding_length", 1, MAX_EMBEDDING),
        quantization=weights.most_common(1)[0][0] if weights else "",
        chat_template=_string(metadata, "tokenizer.chat_template"),
        tokenizer=_string(metadata, "tokenizer.ggml.model") if vocabulary else None,
        vocabulary_size=vocabulary,
        token_ids=_token_ids(metadata, vocabulary),
        metadata=metadata,
        tensors=tensors,
        data_offset=data_offset,
    )


def _string(metadata: Mapping[str, Scalar | ArrayInfo], key: str) -> str | None:
    value = metadata.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _Defect(f"the value of '{key}' is not a text")


def _bounded(
    metadata: Mapping[str, Scalar | ArrayInfo], key: str, low: int, high: int
) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Defect(f"the value of '{key}' is not a whole number")
    if not low <= value <= high:
        raise _Defect(f"the value of '{key}' is {value}, outside {low} to {high}")
    return value


def _vocabulary(metadata: Mapping[str, Scalar | ArrayInfo]) -> int:
    """Number of tokens; native readers trust the parallel arrays to have as many items."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return 0
    if not isinstance(tokens, ArrayInfo) or tokens.item_type != "string":
        raise _Defect("its vocabulary is not a list of texts")
    for name, item_type in (("scores", "float32"), ("token_type", "int32")):
        beside = metadata.get(f"tokenizer.ggml.{name}")
        if beside is not None and beside != ArrayInfo(item_type, tokens.length):
            raise _Defect(f"'tokenizer.ggml.{name}' does not match its {tokens.length} tokens")
    return tokens.length


def _token_ids(metadata: Mapping[str, Scalar | ArrayInfo], vocabulary: int) -> dict[str, int]:
    ids: dict[str, int] = {}
    for key in metadata:
        if key.startswith(_TOKEN_PREFIX) and key.endswith(_TOKEN_SUFFIX):
            token_id = _bounded(metadata, key, -(2**31), 2**32 - 1)
            if token_id is not None and 0 <= token_id < vocabulary:
                ids[key[len(_TOKEN_PREFIX) : -len(_TOKEN_SUFFIX)]] = token_id
    return ids


# --- which engine ------------------------------------------------------------------------------

OPENVINO_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3"})
"""What openvino-genai 2026.4 builds a graph for; it refuses every other name."""
OPENVINO_TYPES = frozenset({"F16", "Q4_0", "Q4_1", "Q6_K", "Q8_0"})
"""Types of matrices it computes with. Seen against llama.cpp on the same random weights: it refuses
F32, BF16, Q5_*, Q5_K and IQ*; Q4_K loads, but the minima of its blocks are rounded to whole steps
and the answers are others. Q4_1 suffers less from the same rounding, and is in."""
OPENVINO_TOKENIZERS = frozenset({"llama-bpe", "qwen2", "smollm"})
"""Pre-tokenizers it knows; it cuts text of any other in a default way, without a word."""

_OPENVINO_TENSOR = re.compile(
    r"(token_embd|output_norm|output"
    r"|blk\.\d+\.(attn_(norm|q|k|v|output|q_norm|k_norm)|ffn_(norm|gate|up|down)))\.(weight|bias)"
)
"""The tensors its graphs use; it leaves out all others without a word."""

EngineName = Literal["openvino", "llama"]


def choose_engine(header: GgufHeader) -> tuple[EngineName, str]:
    """The engine for a GGUF file when the user names none, and why, as a sentence."""
    obstacle = openvino_obstacle(header)
    if obstacle:
        return "llama", f"OpenVINO does not read this file right: {obstacle}."
    return (
        "openvino",
        f"OpenVINO reads {header.architecture} with {header.quantization} weights, and is the"
        " fastest on a processor when requests meet.",
    )


def openvino_obstacle(header: GgufHeader) -> str | None:
    """Why OpenVINO's GGUF reader would refuse the model or run it wrong; None when it will do."""
    if header.architecture not in OPENVINO_ARCHITECTURES:
        known = ", ".join(sorted(OPENVINO_ARCHITECTURES))
        return f"its architecture is '{header.architecture}', and the reader knows {known}"
    return _tokenizer_obstacle(header) or _graph_obstacle(header) or _tensor_obstacle(header)


def _tokenizer_obstacle(header: GgufHeader) -> str | None:
    if header.tokenizer != "gpt2":
        return f"its tokenizer is of kind '{header.tokenizer}', and the reader knows byte-pair only"
    pre = header.metadata.get("tokenizer.ggml.pre")
    if pre not in OPENVINO_TOKENIZERS:
        return f"its tokenizer splits text in the way '{pre}', which the reader does not know"
    for name in ("merges", "token_type"):
        if not isinstance(header.metadata.get(f"tokenizer.ggml.{name}"), ArrayInfo):
            return f"it has no 'tokenizer.ggml.{name}'"
    for key in header.metadata:
        named = key.removeprefix(_TOKEN_PREFIX).removesuffix(_TOKEN_SUFFIX)
        if key == f"{_TOKEN_PREFIX}{named}{_TOKEN_SUFFIX}" and named not in header.token_ids:
            return f"its special token '{named}' is not in the vocabulary"
    return None


def _graph_obstacle(header: GgufHeader) -> str | None:
    metadata, architecture = header.metadata, header.architecture
    required = {
        "general.file_type": int,
        f"{architecture}.block_count": int,
        f"{architecture}.embedding_length": int,
        f"{architecture}.attention.head_count": int,
        f"{architecture}.attention.layer_norm_rms_epsilon": float,
    }
    for key, kind in required.items():
        if not isinstance(metadata.get(key), kind):
            return f"it has no single value for '{key}'"
    heads = metadata[f"{architecture}.attention.head_count"]
    if heads == 0:
        return "it has no attention heads"
    if metadata.get("split.count", 1) != 1:
        return "it is one of several parts"
    if metadata.get(f"{architecture}.rope.scaling.type", "none") != "none":
        return "it stretches its positions (rope scaling), which the reader leaves out"
    if f"{architecture}.attention.sliding_window" in metadata:
        return "it attends through a sliding window, which the reader leaves out"
    return None


def _tensor_obstacle(header: GgufHeader) -> str | None:
    for tensor in header.tensors:
        if not _OPENVINO_TENSOR.fullmatch(tensor.name):
            return f"it has a tensor '{tensor.name}', which the reader leaves out"
        if len(tensor.shape) > 1 and tensor.type not in OPENVINO_TYPES:
            return f"its tensor '{tensor.name}' is {tensor.type}, which the reader gets wrong"
    return None
