"""What a file or folder on disk is, and which engine runs it."""

from pathlib import Path

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed
from zaffre.registry.gguf import choose_engine, read_header
from zaffre.registry.store import CARD_FILE, InstalledModel
from zaffre.wire import codec

OPENVINO_FILES = ("openvino_model.xml", "openvino_language_model.xml")
"""One of which a folder of OpenVINO IR has; the second one where the model sees."""


def detect(name: str, path: Path) -> InstalledModel:
    """The model in `path`, served as `name`.

    A `card.json` beside the files decides; without one the files do. Raises `EngineFailed` when
    there is nothing there that an engine could run.
    """
    if path.is_dir() and (path / CARD_FILE).is_file():
        return InstalledModel(_read_card(path), _only_gguf(path) or path, path)
    if path.is_file():
        return InstalledModel(_gguf_card(name, path), path, path.parent)
    if not path.is_dir():
        raise EngineFailed(f"{path}: there is no such file or folder.")
    if any((path / file).is_file() for file in OPENVINO_FILES):
        card = ModelCard(name=name, format="openvino-ir", operations=("chat", "complete"))
        return InstalledModel(card, path, path)
    if (path / "vision_model.onnx").is_file() and (path / "text_model.onnx").is_file():
        card = ModelCard(
            name=name, format="onnx", architecture="clip", operations=("embed_images", "embed")
        )
        return InstalledModel(card, path, path)
    if (path / "model.onnx").is_file():
        card = ModelCard(name=name, format="onnx", architecture="bert", operations=("embed",))
        return InstalledModel(card, path, path)
    gguf = _only_gguf(path)
    if gguf is not None:
        return InstalledModel(_gguf_card(name, gguf), gguf, path)
    raise EngineFailed(
        f"{path}: holds no model that is known here. Zaffre runs a GGUF file, an OpenVINO folder"
        " (openvino_model.xml, or openvino_language_model.xml), and ONNX folders (model.onnx, or"
        " vision_model.onnx with text_model.onnx); a card.json beside the files says what they are."
    )


def choose(model: InstalledModel) -> tuple[str, str]:
    """The engine for `model` and why. Raises `EngineFailed` when its file is damaged."""
    match model.card.format:
        case "gguf":
            return choose_engine(read_header(model.path))
        case "openvino-ir":
            return "openvino", "an OpenVINO IR folder"
        case "onnx":
            return "onnx", "an ONNX export"
        case "echo":
            return "echo", "the test double"


def _read_card(folder: Path) -> ModelCard:
    try:
        return codec.decode((folder / CARD_FILE).read_bytes(), ModelCard)
    except codec.MalformedError as malformed:
        raise EngineFailed(f"{folder / CARD_FILE}: {malformed.message}") from None


def _only_gguf(folder: Path) -> Path | None:
    files = [file for file in folder.glob("*.gguf") if not file.name.startswith("mmproj")]
    return files[0] if len(files) == 1 else None


def _gguf_card(name: str, path: Path) -> ModelCard:
    header = read_header(path)
    return ModelCard(
        name=name,
        format="gguf",
        architecture=header.architecture,
        # Without a template there is no agreed way to write a conversation.
        operations=("chat", "complete") if header.chat_template else ("complete",),
        context_length=header.context_length,
    )
