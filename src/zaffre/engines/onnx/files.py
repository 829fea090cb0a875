"""The small files beside an ONNX network: which there are, and what their JSON says.

Names and keys are those of sentence-transformers and of Optimum's and transformers.js's exports.
Keys that do not matter here are ignored; the others are checked when they are read.
"""

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from zaffre.core.errors import EngineFailed

MAX_JSON_BYTES = 4 * 1024 * 1024

Side = int | tuple[int, int]
Record = TypeVar("Record", bound=Struct)


class TextConfig(Struct, frozen=True):
    """`text_config` of a two-tower model's config.json."""

    max_position_embeddings: int | None = None
    pad_token_id: int | None = None


class VisionConfig(Struct, frozen=True):
    """`vision_config` of a two-tower model's config.json; sides in pixels."""

    image_size: Side | None = None
    patch_size: Side | None = None


class ModelConfig(Struct, frozen=True):
    """config.json."""

    model_type: str = ""
    max_position_embeddings: int | None = None
    pad_token_id: int | None = None
    text_config: TextConfig = TextConfig()
    vision_config: VisionConfig = VisionConfig()


class TokenizerConfig(Struct, frozen=True):
    """tokenizer_config.json."""

    # Hugging Face writes 10**30 for "no limit".
    model_max_length: float | None = None
    pad_token: str | dict[str, object] | None = None


class SentenceConfig(Struct, frozen=True):
    """sentence_bert_config.json."""

    max_seq_length: int | None = None


class Box(Struct, frozen=True):
    """A size in preprocessor_config.json, in pixels: both sides, or the shorter one."""

    height: int | None = None
    width: int | None = None
    shortest_edge: int | None = None


class PreprocessorConfig(Struct, frozen=True):
    """preprocessor_config.json, with the defaults of Hugging Face's image processors."""

    do_resize: bool = True
    size: Box | int | None = None
    resample: int = 3
    """Pillow's number of the filter."""
    do_center_crop: bool | None = None
    crop_size: Box | int | None = None
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None


def read_json(folder: Path, name: str, kind: type[Record]) -> Record:
    """The content of `folder/name`, or all defaults when there is no such file.

    Raises `EngineFailed` when it is unreadable or a value has the wrong type.
    """
    path = folder / name
    if not path.is_file():
        return kind()
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_JSON_BYTES), type=kind)
    except (OSError, msgspec.MsgspecError) as trouble:
        raise EngineFailed(f"{name} cannot be used: {trouble}") from trouble


def find_network(folder: Path, stem: str, variant: str) -> Path:
    """The file of the network `stem`, as `stem.onnx` or, of a variant, `stem_VARIANT.onnx`.

    Raises `EngineFailed` with the variants there are.
    """
    name = f"{stem}_{variant}.onnx" if variant else f"{stem}.onnx"
    for place in (folder, folder / "onnx"):
        if (place / name).is_file():
            return place / name
    others = sorted(
        path.stem.removeprefix(f"{stem}_")
        for path in (*folder.glob(f"{stem}_*.onnx"), *folder.glob(f"onnx/{stem}_*.onnx"))
    )
    hint = f" Set the engine option 'variant' to one of: {', '.join(others)}." if others else ""
    raise EngineFailed(f"The model has no file {name}.{hint}")


def has_network(folder: Path, stem: str) -> bool:
    """Whether the folder has the network `stem` in any variant."""
    return any(folder.glob(f"{stem}*.onnx")) or any(folder.glob(f"onnx/{stem}*.onnx"))
