"""The options of the `llama` engine, checked before llama.cpp sees them, and its command line."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from zaffre.core.engine import EngineSpec
from zaffre.core.errors import EngineFailed
from zaffre.engines.text.options import Option, checked_options
from zaffre.registry.gguf import MAX_CONTEXT_TOKENS, GgufHeader, read_header

BUILT_IN = "xllamacpp"
"""The `executable` that stands for the server loop inside the package of that name."""
KEY_VARIABLE = "LLAMA_API_KEY"
"""Environment variable with the server's key: unlike an argument, `ps` does not show it."""
MIN_CONTEXT_TOKENS = 64
"""llama.cpp aborts the process when its context has room for one token."""
DEFAULT_CONTEXT_TOKENS = 8192
"""Tokens of one request when the option `n_ctx` is not given and the model was trained on more."""
KV_CACHE_BYTES = 512 * 2**20
"""Memory for the keys and values of all requests together, when it is not given in tokens."""
KV_VALUE_BYTES = 2
"""One number in that cache (F16)."""
MAX_SLOTS = 256
BATCH_TOKENS = 512
"""Tokens computed at once. Seen: 2048 is no faster, and delays both first tokens and cancelling."""
CACHE_RAM_MIB = 0
"""Memory for states of past prompts beyond what the slots remember; llama.cpp's default is 8192.
Seen: an answer after a restored state is not that after the same prompt read afresh (scores differ
by 0.05), so that greedy answers do not repeat."""


OPTIONS: dict[str, Option] = {
    "n_ctx": Option(int, MIN_CONTEXT_TOKENS, MAX_CONTEXT_TOKENS),
    "kv_cache_tokens": Option(int, MIN_CONTEXT_TOKENS, MAX_CONTEXT_TOKENS),
    "n_batch": Option(int, 32, 16384),
    "n_gpu_layers": Option(int, -1, 4096),
    "cache_ram_mib": Option(int, 0, 2**20),
    "prefix_cache": Option(bool),
    "mmproj": Option(str),
    "executable": Option(str),
}
"""What `EngineSpec.options` may hold.

| name | meaning |
|---|---|
| `n_ctx` | tokens of one request, prompt and answer; at most what the model was trained on |
| `kv_cache_tokens` | tokens of all requests together; those that find no room wait |
| `n_batch` | tokens computed at once |
| `n_gpu_layers` | layers on the accelerator; -1: as many as fit |
| `cache_ram_mib` | memory for states of past prompts; 0: none |
| `prefix_cache` | whether a prompt that begins like an earlier one is read from there on; false: \
always from its first token |
| `mmproj` | file of the model's eyes (a GGUF projector); with it the model takes images |
| `executable` | a `llama-server` to run instead of the server loop in the package `xllamacpp` |
"""


class LlamaSettings(Struct, frozen=True, kw_only=True):
    """What llama.cpp is told."""

    model: Path
    header: GgufHeader
    threads: int
    slots: int
    n_ctx: int
    """Tokens of one request."""
    kv_cache_tokens: int
    """Tokens of all requests together."""
    n_batch: int
    n_gpu_layers: int
    cache_ram_mib: int
    prefix_cache: bool
    """Whether what earlier requests have left is used by later ones."""
    mmproj: str
    executable: str
    chat_template: str | None
    """Jinja source that replaces the file's own."""


def read_settings(spec: EngineSpec) -> LlamaSettings:
    """Check `spec` and the files it names. Raises `EngineFailed` that names what is wrong."""
    options = checked_options("llama", OPTIONS, spec.options)
    model = _model_file(Path(spec.path))
    header = read_header(model)
    if header.tokenizer is None:
        raise EngineFailed(f"{model.name} has no vocabulary: it is no language model.")
    if not 1 <= spec.slots <= MAX_SLOTS:
        raise EngineFailed(f"The number of slots must be between 1 and {MAX_SLOTS}.")
    n_ctx = _context_tokens(options, header)
    most = n_ctx * spec.slots
    pool = int(options.get("kv_cache_tokens", KV_CACHE_BYTES // _kv_token_bytes(header)))
    return LlamaSettings(
        model=model,
        header=header,
        threads=max(1, spec.threads),
        slots=spec.slots,
        n_ctx=n_ctx,
        kv_cache_tokens=min(max(n_ctx, pool), most),
        n_batch=int(options.get("n_batch", BATCH_TOKENS)),
        n_gpu_layers=int(options.get("n_gpu_layers", -1)),
        cache_ram_mib=int(options.get("cache_ram_mib", CACHE_RAM_MIB)),
        prefix_cache=bool(options.get("prefix_cache", True)),
        mmproj=_projector(options),
        executable=_executable(options),
        chat_template=spec.card.chat_template,
    )


def command_line(settings: LlamaSettings, socket: Path, template: Path | None) -> list[str]:
    """The arguments of `llama-server`, without its key, which belongs in the environment."""
    arguments = {
        "--model": settings.model,
        "--host": socket,
        "--ctx-size": settings.kv_cache_tokens,
        "--parallel": settings.slots,
        "--threads": settings.threads,
        "--batch-size": settings.n_batch,
        "--cache-ram": settings.cache_ram_mib,
        "--n-gpu-layers": settings.n_gpu_layers if settings.n_gpu_layers >= 0 else None,
        "--mmproj": settings.mmproj or None,
        "--chat-template-file": template,
    }
    named = [
        text
        for name, value in arguments.items()
        if value is not None
        for text in (name, str(value))
    ]
    # One pool of keys and values for all slots: with a share for each, what idle slots remember
    # slows every other one down (seen: 38 against 53 tokens/s for each of four streams).
    return [*named, "--kv-unified", "--jinja", "--no-webui"]


def _model_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted(f for f in path.glob("*.gguf") if not f.name.startswith("mmproj"))
    # Of a model in parts llama.cpp is given the first.
    if not files or (len(files) > 1 and "-00001-of-" not in files[0].name):
        raise EngineFailed(f"The folder '{path}' has {len(files)} GGUF files; one is needed.")
    return files[0]


def _context_tokens(options: dict[str, str | int], header: GgufHeader) -> int:
    trained = header.context_length or DEFAULT_CONTEXT_TOKENS
    if "n_ctx" not in options:
        return min(trained, DEFAULT_CONTEXT_TOKENS)
    wanted = int(options["n_ctx"])
    if wanted > trained:
        raise EngineFailed(
            f"The option 'n_ctx' is {wanted}, and the model was trained on {trained} tokens."
        )
    return wanted


def _kv_token_bytes(header: GgufHeader) -> int:
    """Bytes that one token takes in the cache, or more where the header is not plain."""

    def number(name: str, default: int) -> int:
        value = header.metadata.get(f"{header.architecture}.{name}")
        return value if type(value) is int and value > 0 else default

    heads = number("attention.head_count", 1)
    width = header.embedding_length or 1
    key_heads = number("attention.head_count_kv", heads)
    key = number("attention.key_length", width // heads)
    value = number("attention.value_length", width // heads)
    return max(1, (header.block_count or 1) * key_heads * (key + value) * KV_VALUE_BYTES)


def _projector(options: dict[str, str | int]) -> str:
    path = str(options.get("mmproj", ""))
    if path and read_header(path).architecture != "clip":
        raise EngineFailed(f"The file '{path}' (option 'mmproj') is no projector.")
    return path


def _executable(options: dict[str, str | int]) -> str:
    named = str(options.get("executable", BUILT_IN))
    if named == BUILT_IN:
        if find_spec("xllamacpp") is None:
            raise EngineFailed(
                "The llama engine needs the package 'xllamacpp' (pip install 'zaffre[llama]'), or a"
                " llama-server named by the option 'executable'."
            )
        return named
    found = shutil.which(named)
    if found is None:
        raise EngineFailed(f"The option 'executable' names no program: '{named}'.")
    return found
