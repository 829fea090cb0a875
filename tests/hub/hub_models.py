"""Models for the hub: small, whole, and read by the real readers."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from gguf import GGUFWriter

TOWERS = Path(__file__).parents[1] / "engines" / "towers"

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}{{ tools }}"


@cache
def gguf_bytes(rows: int = 16, template: str = TEMPLATE) -> bytes:
    """A GGUF file of the architecture `llama` with one tensor of `rows` x 256 numbers."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_name("Tiny")
        writer.add_context_length(512)
        writer.add_block_count(1)
        writer.add_embedding_length(256)
        if template:
            writer.add_chat_template(template)
        writer.add_tensor("token_embd.weight", np.ones((rows, 256), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def tower_files(name: str, inside: str = "onnx/") -> dict[str, bytes]:
    """The tiny two-tower export `name`, laid out as its kind is on the hub."""
    return {
        f"{inside}{path.name}" if path.suffix == ".onnx" else path.name: path.read_bytes()
        for path in sorted((TOWERS / name).iterdir())
    }


def text_model_files() -> dict[str, bytes]:
    """A text embedding model: the text tower of the tiny CLIP, as sentence-transformers has it."""
    towers = tower_files("clip")
    return {
        "config.json": b'{"model_type": "bert", "max_position_embeddings": 77}',
        "tokenizer.json": towers["tokenizer.json"],
        "tokenizer_config.json": towers["tokenizer_config.json"],
        "modules.json": b'[{"type": "sentence_transformers.models.Normalize"}]',
        "1_Pooling/config.json": b'{"pooling_mode_cls_token": true}',
        "config_sentence_transformers.json": (
            b'{"prompts": {"query": "query: ", "passage": "passage: "}}'
        ),
        "onnx/model.onnx": towers["onnx/text_model.onnx"],
        "pytorch_model.bin": b"\x80\x02}q\x00.",
        "modeling.py": b"import os",
        "README.md": b"# Tiny",
        "LICENSE": b"MIT",
    }
