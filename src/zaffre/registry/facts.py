"""All that is known about a model without loading it: for people who choose one."""

import re
from math import prod
from pathlib import Path

import msgspec
from msgspec import Struct

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed
from zaffre.registry.catalogue import CatalogueModel
from zaffre.registry.choice import readable_size
from zaffre.registry.describe import ModelConfig, find_networks, read_json
from zaffre.registry.detect import choose
from zaffre.registry.errors import ModelDamaged, ModelNotInstalled
from zaffre.registry.gguf import GgufHeader, read_header
from zaffre.registry.onnxfile import NotOnnx, read_outline
from zaffre.registry.references import HubReference
from zaffre.registry.resolve import find_pullable, local_name
from zaffre.registry.store import InstalledModel, ModelStore, Origin, StoredFile

MAX_TEMPLATE_BYTES = 4 * 1024 * 1024

_TOOLS = re.compile(r"\btools\b")


class FileFacts(Struct, frozen=True, kw_only=True):
    """What a model's files say."""

    architecture: str = ""
    quantization: str | None = None
    """The type that most of the weights' bytes have."""
    parameters: int | None = None
    """Numbers in its weights."""
    size_label: str | None = None
    """The makers' word for that, where it cannot be counted."""
    context_length: int | None = None
    chat_template: bool | None = None
    """Whether it says how a conversation is written; None where that does not matter."""
    takes_tools: bool | None = None
    """Whether that has a place for tools. Without one they are told in words."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What is known about a model."""

    name: str
    installed: bool
    card: ModelCard
    facts: FileFacts
    engine: str | None = None
    """Which would run it, for the reason in `engine_reason`."""
    engine_reason: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    files: tuple[StoredFile, ...] = ()
    """As they were when it was installed; none are known of a model that was put there by hand."""
    origin: Origin | None = None
    packages: tuple[str, ...] = ()
    """Where it can be got, if from packages."""
    hub: str | None = None
    """Where it can be got or came from, if from a hub."""
    download_bytes: int | None = None


def facts_of(model: str, store: ModelStore) -> ModelFacts:
    """What is known about `model`, which is named as in `resolve`.

    Raises `InvalidReference`, `NotInCatalogue`, `ModelNotInstalled`, and `ModelDamaged`.
    """
    name = local_name(model)
    try:
        return _installed_facts(store.find(name))
    except ModelNotInstalled:
        known = find_pullable(model)
        if isinstance(known, HubReference):
            raise ModelNotInstalled(model) from None
        return _catalogue_facts(known)


def read_files(model: InstalledModel) -> FileFacts:
    """What the files of `model` say. Raises `EngineFailed` when they are damaged."""
    match model.card.format:
        case "gguf":
            return _gguf_facts(read_header(model.path))
        case "onnx":
            return _onnx_facts(model.folder)
        case "openvino-ir":
            return _openvino_facts(model.folder)
        case "echo" | "upstream":
            return FileFacts()


def _installed_facts(model: InstalledModel) -> ModelFacts:
    try:
        facts = read_files(model)
        engine, reason = choose(model)
    except (EngineFailed, NotOnnx) as trouble:
        raise ModelDamaged(model.card.name, str(trouble)) from trouble
    origin = model.origin
    hub = origin.hub if origin is not None else None
    return ModelFacts(
        name=model.card.name,
        installed=True,
        card=model.card,
        facts=facts,
        engine=engine,
        engine_reason=reason,
        path=str(model.path),
        size_bytes=model.size_bytes,
        files=origin.files if origin is not None else (),
        origin=origin,
        packages=origin.packages if origin is not None else (),
        hub=f"{HubReference(hub.repository, hub.commit, hub.file)}" if hub is not None else None,
    )


def _catalogue_facts(model: CatalogueModel) -> ModelFacts:
    return ModelFacts(
        name=model.name,
        installed=False,
        card=model.card,
        facts=FileFacts(),
        packages=tuple(package.requirement for package in model.packages),
        hub=str(model.reference) if model.reference is not None else None,
        download_bytes=model.download_bytes,
    )


def _gguf_facts(header: GgufHeader) -> FileFacts:
    # The first of several parts describes its own tensors only.
    whole = header.metadata.get("split.count", 1) in (0, 1)
    label = header.metadata.get("general.size_label")
    return FileFacts(
        architecture=header.architecture,
        quantization=header.quantization or None,
        parameters=sum(prod(tensor.shape) for tensor in header.tensors) if whole else None,
        size_label=label if isinstance(label, str) else None,
        context_length=header.context_length,
        chat_template=header.chat_template is not None,
        takes_tools=bool(_TOOLS.search(header.chat_template or "")),
    )


def _onnx_facts(folder: Path) -> FileFacts:
    config = read_json(folder / "config.json", ModelConfig)
    outlines = [read_outline(path) for path in find_networks(folder).values()]
    return FileFacts(
        architecture=config.model_type,
        parameters=sum(outline.parameters for outline in outlines) or None,
        context_length=config.text_config.max_position_embeddings or config.max_position_embeddings,
    )


def _openvino_facts(folder: Path) -> FileFacts:
    config = read_json(folder / "config.json", ModelConfig)
    template = "".join(
        _text(folder / name)
        for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
    )
    return FileFacts(
        architecture=config.model_type,
        context_length=config.max_position_embeddings,
        chat_template="chat_template" in template or (folder / "chat_template.jinja").is_file(),
        takes_tools=bool(_TOOLS.search(template)),
    )


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(MAX_TEMPLATE_BYTES).decode("utf-8", "replace")


def to_json(facts: ModelFacts) -> str:
    """`facts` for programs."""
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()


def to_text(facts: ModelFacts) -> str:
    """`facts` for people: one line each, what is unknown left out."""
    card, files = facts.card, facts.facts
    context = card.context_length or files.context_length
    parameters = _amount(files.parameters) if files.parameters else files.size_label
    rows: list[tuple[str, str | None]] = [
        ("", card.description or card.title or None),
        ("state", _state(facts)),
        ("format", card.format),
        ("architecture", files.architecture or card.architecture or None),
        ("quantisation", files.quantization),
        ("parameters", parameters),
        ("context", f"{context} tokens" if context else None),
        ("template", _template(files)),
        ("does", ", ".join(card.operations)),
        ("dimensions", str(card.dimensions) if card.dimensions else None),
        ("input types", _input_types(card)),
        ("sampling", _sampling(card)),
        ("engine", f"{facts.engine}: {facts.engine_reason}" if facts.engine else None),
        ("maker", card.provider),
        ("licence", card.license),
        ("price", _price(card)),
        ("origin", facts.hub or ", ".join(facts.packages) or "put there by hand"),
        ("path", facts.path),
    ]
    rows += [
        ("file", f"{file.name}  {readable_size(file.size_bytes)}  sha256 {file.sha256}")
        for file in facts.files
    ]
    return "\n".join([facts.name, *(f"  {key:13}{value}".rstrip() for key, value in rows if value)])


def _state(facts: ModelFacts) -> str:
    if facts.installed:
        return f"installed, {readable_size(facts.size_bytes or 0)}"
    about = "about " if facts.hub else ""
    return f"can be pulled, {about}{readable_size(facts.download_bytes or 0)} to download"


def _template(facts: FileFacts) -> str | None:
    if facts.chat_template is None:
        return None
    if not facts.chat_template:
        return "none: it completes texts and does not chat"
    return "there, with tools" if facts.takes_tools else "there; tools are told in words"


def _input_types(card: ModelCard) -> str | None:
    told = [f"{kind} ({text!r})" for kind, text in card.prefixes.items()]
    return ", ".join(told) or None


def _sampling(card: ModelCard) -> str | None:
    told = {"temperature": card.temperature, "top_p": card.top_p}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None) or None


def _price(card: ModelCard) -> str | None:
    if card.prices is None:
        return None
    return f"{card.prices.input} in, {card.prices.output} out, for a million tokens"


def _amount(number: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return str(number)
