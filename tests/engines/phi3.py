"""A Phi-3 checkpoint made on the spot: the real architecture, vocabulary layout and chat template.

Its weights are random, so what it says means nothing; how it is asked, how its tokens are cut and
how its turns end is what every Phi-3 does.
"""

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType, TokenType

CONTEXT_LENGTH = 2048
BLOCKS = 2
WIDTH = 64
FEED_FORWARD = 128
HEADS = 4

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
"""Phi-3-mini-4k-instruct's."""

_SPECIAL = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
)
"""The tokens behind Llama's vocabulary, in Phi-3's order (there they begin at 32000)."""

_WORDS = (
    *(
        "▁be",
        "▁brief",
        "▁Hello",
        "▁Phi",
        "▁the",
        "▁a",
        "▁is",
        "▁and",
        "Hello",
        "be",
        "brief",
        "Phi",
    ),
    *("한", "국", "▁", "e", "t", "a", "o", "n", "\n"),
)

_PIECES = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_WORDS, *_SPECIAL)

TOKEN_IDS = {name: _PIECES.index(name) for name in ("<s>", *_SPECIAL)}


def write_phi3(path: Path, seed: int = 1, more_special: tuple[str, ...] = ()) -> Path:
    """Write the checkpoint as GGUF, about 0.5 MB, with more special tokens if some are named."""
    special = (*_SPECIAL, *more_special)
    pieces = (*_PIECES, *more_special)
    writer = GGUFWriter(path, "phi3")
    writer.add_name("Tiny Phi-3")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT_LENGTH)
    writer.add_rope_scaling_orig_ctx_len(CONTEXT_LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_sliding_window(CONTEXT_LENGTH)
    _add_tokenizer(writer, pieces, special)
    _add_tensors(writer, len(pieces), np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, pieces: tuple[str, ...], special: tuple[str, ...]) -> None:
    kinds = dict.fromkeys(pieces[3:259], TokenType.BYTE)
    kinds |= {"<unk>": TokenType.UNKNOWN} | dict.fromkeys(("<s>", "</s>"), TokenType.CONTROL)
    kinds |= dict.fromkeys(special, TokenType.CONTROL)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(pieces))
    writer.add_token_scores([-float(number) for number in range(len(pieces))])
    writer.add_token_types([kinds.get(piece, TokenType.NORMAL) for piece in pieces])
    writer.add_bos_token_id(TOKEN_IDS["<s>"])
    writer.add_eos_token_id(TOKEN_IDS["<|endoftext|>"])
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(TOKEN_IDS["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add_tensors(writer: GGUFWriter, vocabulary: int, random: np.random.Generator) -> None:
    def matrix(name: str, rows: int, columns: int) -> None:
        weights = random.standard_normal((rows, columns)) * columns**-0.5
        writer.add_tensor(f"{name}.weight", weights.astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    matrix("token_embd", vocabulary, WIDTH)
    norm("output_norm")
    matrix("output", vocabulary, WIDTH)
    for block in range(BLOCKS):
        norm(f"blk.{block}.attn_norm")
        matrix(f"blk.{block}.attn_qkv", 3 * WIDTH, WIDTH)
        matrix(f"blk.{block}.attn_output", WIDTH, WIDTH)
        norm(f"blk.{block}.ffn_norm")
        # Gate and up projections in one.
        matrix(f"blk.{block}.ffn_up", 2 * FEED_FORWARD, WIDTH)
        matrix(f"blk.{block}.ffn_down", WIDTH, FEED_FORWARD)


IMAGE_TOKENS = 4
"""Tokens that one image takes: 28 pixels a side, in patches of 14."""


def write_projector(path: Path, seed: int = 2) -> Path:
    """Write eyes for the checkpoint: a tiny CLIP with LLaVA's projection, as GGUF."""
    writer = GGUFWriter(path, "clip")
    width, feed_forward, patch, side = 32, 64, 14, 28
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    numbers = {
        "image_size": side,
        "patch_size": patch,
        "embedding_length": width,
        "feed_forward_length": feed_forward,
        "projection_dim": WIDTH,
        "block_count": BLOCKS,
        "attention.head_count": 2,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.vision.{name}", number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    _add_eyes(writer, np.random.default_rng(seed), (width, feed_forward, patch))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_eyes(writer: GGUFWriter, random: np.random.Generator, sizes: tuple[int, int, int]) -> None:
    width, feed_forward, patch = sizes

    def weights(name: str, *shape: int) -> None:
        drawn = random.standard_normal(shape) * shape[-1] ** -0.5
        writer.add_tensor(name, drawn.astype(np.float32))

    def layer(name: str, rows: int, columns: int) -> None:
        weights(f"{name}.weight", rows, columns)
        writer.add_tensor(f"{name}.bias", np.zeros(rows, np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, np.float32))

    weights("v.class_embd", width)
    weights("v.patch_embd.weight", width, 3, patch, patch)
    weights("v.position_embd.weight", IMAGE_TOKENS + 1, width)
    norm("v.pre_ln")
    for block in range(BLOCKS):
        name = f"v.blk.{block}"
        norm(f"{name}.ln1")
        norm(f"{name}.ln2")
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            layer(f"{name}.{part}", width, width)
        layer(f"{name}.ffn_up", feed_forward, width)
        layer(f"{name}.ffn_down", width, feed_forward)
    layer("mm.0", WIDTH, width)
    layer("mm.2", WIDTH, WIDTH)
