"""The options of the `openvino` engine, and what is known of a model before it is loaded."""

import math
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from msgspec import Struct

from zaffre.core.engine import EngineSpec
from zaffre.core.errors import EngineFailed
from zaffre.engines.openvino.wire import Load
from zaffre.engines.text.options import Option, checked_options
from zaffre.registry.gguf import openvino_obstacle, read_header

GIB = 2**30
MAX_CONTEXT_TOKENS = 2**20
DEFAULT_CONTEXT_TOKENS = 4096
"""For a folder that does not say what its model was trained on."""
TOKENS_PER_THREAD = 64
"""Prompt tokens computed per step and thread: some 0.1 s of a 135M model, which is how long a
cancelled request may keep its slot. Seen: 64, 128, 256 and 512 per step are equally fast."""
MAX_BATCH_TOKENS = 512
CACHED_CONTEXTS = 2
"""Whole contexts for which the default cache has room, at least."""
CACHE_SHARE_OF_MEMORY = 4
"""The default cache is at most this part of the machine's memory."""
_VALUE_BYTES = 1.2
"""One number in the cache, eight bits with its share of a scale."""
_SOME_TOKEN_BYTES = 128 * 1024
"""Keys and values of one token, where the files do not tell."""
_TOKENIZER_FILES = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
IR_FILES = ("openvino_model.xml", "openvino_model.bin", *_TOKENIZER_FILES)
"""What a folder must have."""
SEEING_FILES = (
    "openvino_language_model.xml",
    "openvino_language_model.bin",
    "openvino_text_embeddings_model.xml",
    "openvino_vision_embeddings_model.xml",
    "preprocessor_config.json",  # without it the library scales images to a size of its own
    "config.json",
    *_TOKENIZER_FILES,
)
"""What the folder of a model that sees must have."""


OPTIONS: dict[str, Option] = {
    "batch_tokens": Option(int, 16, 65536),
    "cache_size_gb": Option(int, 1, 4096),
    "context_length": Option(int, 64, MAX_CONTEXT_TOKENS),
    "default_max_tokens": Option(int, 1, MAX_CONTEXT_TOKENS),
    "device": Option(str),
    "keep_converted_gb": Option(int, 0, 4096),
    "prefix_cache": Option(bool),
}
"""What `EngineSpec.options` may hold.

| name | meaning | default |
|---|---|---|
| `batch_tokens` | tokens computed in one step | 64 per thread, at most 512 |
| `cache_size_gb` | memory for keys and values of all requests, taken as needed | two contexts, at \
least 1, at most a quarter of the machine's |
| `context_length` | tokens of prompt and answer | what the model was trained on |
| `default_max_tokens` | tokens of a chat answer when the client gives no bound | 1024 |
| `device` | OpenVINO's name of the processor: `CPU`, `GPU`, `NPU` | `CPU` |
| `keep_converted_gb` | GGUF files up to this size are kept as OpenVINO IR, too, in a folder \
`.openvino` beside them, which starts in half the time; 0: never | 1 |
| `prefix_cache` | whether a prompt that begins like an earlier one is read from there on; false: \
always from its first token | true |
"""


class _Facts(Struct, frozen=True):
    """What a model's files say about it."""

    context_length: int | None
    token_bytes: int | None
    """Keys and values of one token, in the cache."""
    stop_token_ids: tuple[int, ...] = ()
    sees: bool = False


class _LanguageConfig(Struct, frozen=True):
    """What an exported model's `config.json` says about its language model."""

    max_position_embeddings: int | None = None
    num_hidden_layers: int | None = None
    hidden_size: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None


class _FolderConfig(_LanguageConfig, frozen=True):
    """The part of a `config.json` that matters here: in models that see, it is inside another."""

    text_config: _LanguageConfig | None = None


def load_order(spec: EngineSpec) -> Load:
    """What the runner is told, checked. Raises `EngineFailed` that names what is wrong.

    Reads the model's header: the library follows a damaged one out of its memory.
    """
    options = checked_options("openvino", OPTIONS, spec.options)
    path = Path(spec.path)
    facts = _folder_facts(path) if path.is_dir() else _file_facts(path)
    threads = max(1, spec.threads)
    trained = spec.card.context_length or facts.context_length or DEFAULT_CONTEXT_TOKENS
    context = min(int(options.get("context_length", trained)), trained, MAX_CONTEXT_TOKENS)
    batch = min(MAX_BATCH_TOKENS, TOKENS_PER_THREAD * threads)
    return Load(
        path=str(path),
        device=str(options.get("device", "CPU")),
        threads=threads,
        slots=spec.slots,
        cache_size_gb=int(options.get("cache_size_gb", _cache_gb(facts, context))),
        prefix_cache=bool(options.get("prefix_cache", True)),
        batch_tokens=int(options.get("batch_tokens", batch)),
        context_length=context,
        stop_token_ids=facts.stop_token_ids,
        chat_template=spec.card.chat_template,
        converted=_converted(path, int(options.get("keep_converted_gb", 1))),
        sees=facts.sees,
    )


def _file_facts(path: Path) -> _Facts:
    header = read_header(path)
    obstacle = openvino_obstacle(header)
    if obstacle:
        raise EngineFailed(f"OpenVINO does not read {path.name} right: {obstacle}.")
    name, ids = header.architecture, header.token_ids
    heads = header.metadata.get(f"{name}.attention.head_count")
    return _Facts(
        header.context_length,
        _token_bytes(
            layers=header.block_count,
            heads=header.metadata.get(f"{name}.attention.head_count_kv", heads),
            head_size=header.metadata.get(f"{name}.attention.key_length")
            or _quotient(header.embedding_length, heads),
        ),
        tuple(ids[kind] for kind in ("eos", "eot", "eom") if kind in ids),
    )


def _folder_facts(path: Path) -> _Facts:
    sees = (path / SEEING_FILES[0]).is_file()
    needed = SEEING_FILES if sees else IR_FILES
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise EngineFailed(
            f"{path} is no OpenVINO model: {missing[0]} is missing. 'optimum-cli export openvino'"
            " writes the model, and 'convert_tokenizer --with-detokenizer' what belongs to it."
        )
    try:
        config = msgspec.json.decode((path / "config.json").read_bytes(), type=_FolderConfig)
    except FileNotFoundError:
        config = _FolderConfig()
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"{path / 'config.json'}: {error}.") from error
    language = config.text_config or config
    heads = language.num_attention_heads
    return _Facts(
        language.max_position_embeddings or config.max_position_embeddings,
        _token_bytes(
            layers=language.num_hidden_layers,
            heads=language.num_key_value_heads or heads,
            head_size=language.head_dim or _quotient(language.hidden_size, heads),
        ),
        sees=sees,
    )


def _quotient(whole: object, parts: object) -> int | None:
    return whole // parts if isinstance(whole, int) and isinstance(parts, int) and parts else None


def _token_bytes(*, layers: object, heads: object, head_size: object) -> int | None:
    if isinstance(layers, int) and isinstance(heads, int) and isinstance(head_size, int):
        return math.ceil(2 * layers * heads * head_size * _VALUE_BYTES)
    return None


def _cache_gb(facts: _Facts, context: int) -> int:
    wanted = CACHED_CONTEXTS * context * (facts.token_bytes or _SOME_TOKEN_BYTES)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = max(1, memory // GIB // CACHE_SHARE_OF_MEMORY)
    return min(most, max(1, math.ceil(wanted / GIB)))


def _converted(path: Path, most_gb: int) -> str | None:
    """The folder for a GGUF file as IR: a new one for each content and version of the library."""
    if path.is_dir() or path.stat().st_size > most_gb * GIB:
        return None
    try:
        library = version("openvino-genai")
    except PackageNotFoundError:  # the runner will say so
        return None
    stamp = path.stat()
    folder = path.resolve().parent / ".openvino" / path.stem
    return str(folder / f"{library}-{stamp.st_size:x}-{stamp.st_mtime_ns:x}")
