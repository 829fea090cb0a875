"""Model cards: what is known about a model before it is loaded."""

from typing import Literal

from msgspec import Struct

from zaffre.core.calls import Operation

ModelFormat = Literal["gguf", "openvino-ir", "onnx", "echo", "upstream"]


class Prices(Struct, frozen=True, kw_only=True):
    """What a million tokens cost, for the usage ledger, in the operator's own currency."""

    input: float = 0.0
    output: float = 0.0


class ModelCard(Struct, frozen=True, kw_only=True):
    """Facts about a model that its files do not state, or that are needed before they open."""

    name: str
    title: str = ""
    """The name that `/info` reports, where it should say more than `name`."""
    format: ModelFormat
    operations: tuple[Operation, ...]
    provider: str = "unknown"
    """Who made the model, as `/info` reports it."""
    license: str = "unknown"
    description: str = ""
    architecture: str = ""
    """The file's own word for it: `llama`, `phi3`, `bert`, `clip`, `siglip`, `conse`, ..."""
    context_length: int | None = None
    """Tokens; for embedding models, tokens of one input. None: as the files say."""
    dimensions: int | None = None
    reducible_dimensions: bool = False
    prefixes: dict[str, str] = {}
    """Text put before an input, by `input_type` (e5: query -> "query: ")."""
    too_long: Literal["error", "truncate"] = "error"
    """What happens to an embedding input longer than the context."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    normalize: bool = True
    temperature: float | None = None
    top_p: float | None = None
    """What the model's makers recommend; used where a request says nothing."""
    longest_json_text: int | None = None
    """Characters of a text in a structured answer for which the schema has no bound: small models
    do not know when to stop. None: no bound."""
    chat_template: str | None = None
    """Jinja template that replaces the one in the files."""
    prices: Prices | None = None
    """None: the ledger counts its tokens and no cost."""
