"""A model's card out of its files, for models that nobody wrote a card for."""

from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from zaffre.core.calls import Operation
from zaffre.core.cards import ModelCard, ModelFormat
from zaffre.core.errors import EngineFailed
from zaffre.registry.gguf import read_header
from zaffre.registry.layouts import ONNX_FOLDERS, TOWERS

MAX_JSON_BYTES = 4 * 1024 * 1024

Record = TypeVar("Record", bound=Struct)


class NestedConfig(Struct, frozen=True):
    """A part of a config.json that describes one of several networks."""

    hidden_size: int | None = None
    max_position_embeddings: int | None = None


class ModelConfig(Struct, frozen=True):
    """The part of a config.json that tells what the model is."""

    model_type: str = ""
    hidden_size: int | None = None
    max_position_embeddings: int | None = None
    projection_dim: int | None = None
    text_config: NestedConfig = NestedConfig()


class _Pooling(Struct, frozen=True):
    pooling_mode_cls_token: bool = False
    pooling_mode_lasttoken: bool = False


class _Module(Struct, frozen=True):
    type: str = ""


class _Prompts(Struct, frozen=True):
    prompts: dict[str, str] = {}


def describe(name: str, folder: Path, kind: ModelFormat, main: Path) -> ModelCard:
    """The card of the model whose files are in `folder` and which an engine opens at `main`.

    Raises `EngineFailed` when the files are damaged.
    """
    match kind:
        case "gguf":
            header = read_header(main)
            return ModelCard(
                name=name,
                format="gguf",
                architecture=header.architecture,
                # Without a template there is no agreed way to write a conversation.
                operations=("chat", "complete") if header.chat_template else ("complete",),
                context_length=header.context_length,
            )
        case "onnx":
            return _onnx_card(name, folder)
        case "openvino-ir":
            config = read_json(folder / "config.json", ModelConfig)
            return ModelCard(
                name=name,
                format=kind,
                architecture=config.model_type,
                operations=("chat", "complete"),
            )
        case "echo" | "upstream":
            return ModelCard(name=name, format=kind, operations=())


def find_networks(folder: Path) -> dict[str, Path]:
    """The ONNX networks of a model by what they are: `model`, `vision_model`, `text_model`."""
    return {
        stem: place / f"{stem}.onnx"
        for stem in ("model", *TOWERS)
        for place in (folder / inner for inner in reversed(ONNX_FOLDERS))
        if (place / f"{stem}.onnx").is_file()
    }


def read_json(path: Path, kind: type[Record]) -> Record:
    """The content of `path`, or all defaults when there is none.

    Raises `EngineFailed` when it is unreadable or a value has the wrong type.
    """
    if not path.is_file():
        return kind()
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_JSON_BYTES), type=kind)
    except (OSError, msgspec.MsgspecError) as trouble:
        raise EngineFailed(f"{path.name} cannot be used: {trouble}") from trouble


def _onnx_card(name: str, folder: Path) -> ModelCard:
    towers = TOWERS[0] in find_networks(folder)
    operations: tuple[Operation, ...] = ("embed_images", "embed") if towers else ("embed",)
    config = read_json(folder / "config.json", ModelConfig)
    prompts = read_json(folder / "config_sentence_transformers.json", _Prompts).prompts
    document = prompts.get("document") or prompts.get("passage")
    prefixes = {"query": prompts.get("query"), "document": document}
    return ModelCard(
        name=name,
        format="onnx",
        architecture=config.model_type or ("clip" if towers else ""),
        operations=operations,
        pooling=_pooling(folder),
        normalize=_normalizes(folder),
        prefixes={kind: text for kind, text in prefixes.items() if text},
    )


def _pooling(folder: Path) -> Literal["mean", "cls", "last"]:
    pooling = read_json(folder / "1_Pooling" / "config.json", _Pooling)
    if pooling.pooling_mode_cls_token:
        return "cls"
    return "last" if pooling.pooling_mode_lasttoken else "mean"


def _normalizes(folder: Path) -> bool:
    path = folder / "modules.json"
    if not path.is_file():
        return True
    try:
        modules = msgspec.json.decode(path.read_bytes(), type=list[_Module])
    except (OSError, msgspec.MsgspecError) as trouble:
        raise EngineFailed(f"{path.name} cannot be used: {trouble}") from trouble
    return any(module.type.endswith(".Normalize") for module in modules)
