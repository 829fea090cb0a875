"""The models in a repository, by the three layouts that the engines read."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from zaffre.core.cards import ModelFormat
from zaffre.registry.hub import HubFile

FileKind = Literal["gguf", "gguf-part", "onnx", "json", "xml", "text", "weights"]

SIDE_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("sentence_bert_config.json", "config_sentence_transformers.json", "modules.json"),
    *("preprocessor_config.json", "1_Pooling/config.json"),
)
"""What stands beside an ONNX network: read by the engine, or telling what the model is."""
IR_SIDE_FILES = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json"),
    *("special_tokens_map.json", "chat_template.json", "chat_template.jinja"),
    *("openvino_config.json", "preprocessor_config.json", "processor_config.json"),
)
IR_MODELS = ("openvino_model.xml", "openvino_language_model.xml")
"""One of which a folder has; the second one where the model sees."""
IR_TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
TOWERS = ("vision_model", "text_model")
ONNX_FOLDERS = ("", "onnx")
"""Where exports keep their networks; those elsewhere are taken when they are named."""

_IR_NETWORK = re.compile(r"openvino_[a-z0-9_]+\.xml")
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_QUANTISATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d[A-Z0-9_]*|TQ\d_\d|BF16|FP?16|FP?32|MXFP4[A-Z_]*))$",
    re.IGNORECASE,
)


class ChosenFile(Struct, frozen=True):
    """A file to download."""

    source: HubFile
    name: str
    """Where it goes in the model's folder, with forward slashes."""
    kind: FileKind


class Candidate(Struct, frozen=True):
    """One of the models of a repository."""

    label: str
    """What one writes behind the colon to get it."""
    stem: str
    """Path of its main file without ending and number of part."""
    format: ModelFormat
    files: tuple[ChosenFile, ...]
    default: bool = False
    """Whether it is meant when there are others and none is named."""
    hidden: bool = False
    """Whether it is meant only when it is named."""

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.source.size_bytes for file in self.files)


def gguf_models(files: Sequence[HubFile]) -> list[Candidate]:
    """Each GGUF file, and each set of parts that is complete."""
    sets: dict[str, list[HubFile]] = {}
    for file in files:
        # A projector is half a model, and an importance matrix none.
        if file.path.lower().endswith(".gguf") and not re.search("mmproj|imatrix", file.basename):
            part = _PART.fullmatch(file.path)
            stem = part["stem"] if part else file.path[: -len(".gguf")]
            sets.setdefault(stem, []).append(file)
    found = [
        _gguf_model(stem, sorted(parts, key=lambda part: part.path))
        for stem, parts in sorted(sets.items())
        if _is_complete(parts)
    ]
    labels = Counter(each.label.lower() for each in found)
    return [
        replace(each, label=each.files[0].source.path) if labels[each.label.lower()] > 1 else each
        for each in found
    ]


def openvino_models(files: Sequence[HubFile]) -> list[Candidate]:
    """Each folder with a language model as OpenVINO IR and its tokenizer."""
    folders: dict[str, dict[str, HubFile]] = {}
    for file in files:
        folders.setdefault(file.folder, {})[file.basename] = file
    found = []
    for folder, inside in sorted(folders.items()):
        main = next((name for name in IR_MODELS if name in inside), None)
        if main is None or not all(name in inside for name in IR_TOKENIZERS):
            continue
        networks = [main, *(n for n in sorted(inside) if _IR_NETWORK.fullmatch(n) and n != main)]
        chosen = [ChosenFile(inside[name], name, "xml") for name in networks]
        # The only `.bin` files that are taken: bare numbers, and held to be so.
        weights = [name.removesuffix("xml") + "bin" for name in networks]
        chosen += [ChosenFile(inside[n], n, "weights") for n in weights if n in inside]
        chosen += [ChosenFile(inside[n], n, _kind(n)) for n in IR_SIDE_FILES if n in inside]
        stem = chosen[0].source.path.removesuffix(".xml")
        found.append(
            Candidate(folder or ".", stem, "openvino-ir", tuple(chosen), default=not folder)
        )
    return found


def onnx_models(files: Sequence[HubFile]) -> list[Candidate]:
    """Each export, as one network or as a pair of towers, in each of its variants."""
    folders: dict[str, dict[str, HubFile]] = {}
    for file in files:
        folders.setdefault(file.folder, {})[file.basename] = file
    found: list[Candidate] = []
    for folder in sorted(folders, key=lambda each: (each not in ONNX_FOLDERS, each)):
        found += _onnx_folder(folder, folders[folder], {file.path: file for file in files})
    if len(found) == 1:
        return [replace(found[0], hidden=False)]
    first = next((each for each in found if each.default), None)
    return [replace(each, default=each is first) for each in found]


def external_files(network: HubFile, beside: dict[str, HubFile]) -> Iterator[HubFile]:
    """Files that by their names hold weights of `network`; `beside` is its folder."""
    name, stem = network.basename, network.basename.removesuffix(".onnx")
    for other in beside.values():
        if other.basename.startswith((f"{name}_data", f"{name}.data")) or (
            other.basename == f"{stem}.data"
        ):
            yield other


def _gguf_model(stem: str, parts: Sequence[HubFile]) -> Candidate:
    quantisation = _QUANTISATION.search(stem)
    label = quantisation[1] if quantisation else parts[0].path
    chosen = tuple(
        ChosenFile(part, part.basename, "gguf-part" if number else "gguf")
        for number, part in enumerate(parts)
    )
    return Candidate(label, stem, "gguf", chosen)


def _is_complete(parts: Sequence[HubFile]) -> bool:
    numbered = [_PART.fullmatch(part.path) for part in parts]
    if not all(numbered):
        return len(parts) == 1
    numbers = sorted(int(part["number"]) for part in numbered if part)
    counts = {int(part["count"]) for part in numbered if part}
    return counts == {len(parts)} and numbers == list(range(1, len(parts) + 1))


def _onnx_folder(
    folder: str, inside: dict[str, HubFile], there: dict[str, HubFile]
) -> Iterator[Candidate]:
    stems = [name.removesuffix(".onnx") for name in sorted(inside) if name.endswith(".onnx")]
    pairs = [stem for stem in stems if stem.split("_")[:2] == ["vision", "model"]]
    for stem in pairs or stems:
        main = TOWERS[0] if pairs else "model"
        known = stem == main or stem.startswith(f"{main}_")
        variant = stem.removeprefix(main).lstrip("_") if known else ""
        networks = {f"{main}.onnx": inside[f"{stem}.onnx"]}
        text = f"{TOWERS[1]}{stem.removeprefix(TOWERS[0])}.onnx"
        if pairs and text in inside:
            networks[f"{TOWERS[1]}.onnx"] = inside[text]
        chosen = [*_networks(networks, folder, inside), *_side_files(inside, there)]
        yield Candidate(
            variant or networks[f"{main}.onnx"].path,
            f"{folder}/{stem}".lstrip("/"),
            "onnx",
            tuple(chosen),
            default=known and not variant,
            hidden=not known or folder not in ONNX_FOLDERS,
        )


def _networks(
    networks: dict[str, HubFile], folder: str, inside: dict[str, HubFile]
) -> Iterator[ChosenFile]:
    # The engine looks for networks in the model's folder and in `onnx`, under their plain names;
    # their weights keep the names that stand in the networks.
    place = "onnx/" if folder else ""
    for name, network in networks.items():
        yield ChosenFile(network, f"{place}{name}", "onnx")
        for weights in external_files(network, inside):
            yield ChosenFile(weights, f"{place}{weights.basename}", "weights")


def _side_files(inside: dict[str, HubFile], there: dict[str, HubFile]) -> Iterator[ChosenFile]:
    for name in SIDE_FILES:
        file = there.get(name) or inside.get(name)
        if file is not None:
            yield ChosenFile(file, name, _kind(name))


def _kind(name: str) -> FileKind:
    return "json" if name.endswith(".json") else "text"
