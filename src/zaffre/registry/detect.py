"""What a file or folder on disk is, and which engine runs it."""

from pathlib import Path

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed
from zaffre.registry.describe import describe, find_networks
from zaffre.registry.gguf import choose_engine, read_header
from zaffre.registry.layouts import IR_MODELS, TOWERS
from zaffre.registry.store import CARD_FILE, InstalledModel
from zaffre.wire import codec


def detect(name: str, path: Path) -> InstalledModel:
    """The model in `path`, served as `name`.

    A `card.json` beside the files decides; without one the files do. Raises `EngineFailed` when
    there is nothing there that an engine could run.
    """
    if path.is_file():
        return InstalledModel(describe(name, path.parent, "gguf", path), path, path.parent)
    if not path.is_dir():
        raise EngineFailed(f"{path}: there is no such file or folder.")
    gguf = _gguf(path)
    if (path / CARD_FILE).is_file():
        return InstalledModel(_read_card(path), gguf or path, path)
    if any((path / file).is_file() for file in IR_MODELS):
        return InstalledModel(describe(name, path, "openvino-ir", path), path, path)
    if find_networks(path).keys() & {"model", TOWERS[0]}:
        return InstalledModel(describe(name, path, "onnx", path), path, path)
    if gguf is not None:
        return InstalledModel(describe(name, path, "gguf", gguf), gguf, path)
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
        case "upstream":
            raise EngineFailed(f"{model.card.name} runs on somebody else's server.")


def _read_card(folder: Path) -> ModelCard:
    try:
        return codec.decode((folder / CARD_FILE).read_bytes(), ModelCard)
    except codec.MalformedError as malformed:
        raise EngineFailed(f"{folder / CARD_FILE}: {malformed.message}") from None


def _gguf(folder: Path) -> Path | None:
    """The one GGUF file, or the first part of the one model that is in parts."""
    files = [file for file in folder.glob("*.gguf") if not file.name.startswith("mmproj")]
    found = [file for file in files if "-00001-of-" in file.name] or files
    return found[0] if len(found) == 1 else None
