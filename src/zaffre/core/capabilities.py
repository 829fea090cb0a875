"""Capabilities: what one deployment can do, and the one place where a Call is held against it.

The same record feeds `/info`, the model list, the OpenAPI document and every refusal.
"""

from typing import Any

from msgspec import Struct, structs

from zaffre.core.calls import (
    AudioPart,
    Call,
    ChatCall,
    CompletionCall,
    EmbedCall,
    EmbeddingCall,
    ImageEmbedCall,
    ImagePart,
    JsonSchema,
    MediaReference,
    NamedTool,
    Operation,
    Part,
    Sampling,
    TextPart,
    UserMessage,
)
from zaffre.core.errors import OperationNotSupported, OutOfRange, UnsupportedParameter


class Range(Struct, frozen=True):
    """Inclusive bounds of a numeric parameter; None where there is no bound."""

    # A whole number stays one on its way from worker to gateway: 2**63 - 1 has no float.
    minimum: int | float | None = None
    maximum: int | float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        above = self.minimum is None or value >= self.minimum
        return above and (self.maximum is None or value <= self.maximum)


ANY = Range()

GENERATION_PARAMETERS: dict[str, Range] = {
    "temperature": Range(0, 2),
    "top_p": Range(0, 1),
    "frequency_penalty": Range(-2, 2),
    "presence_penalty": Range(-2, 2),
    "max_tokens": Range(0, 2**31 - 1),
    "stop": ANY,
    "seed": Range(-(2**63), 2**63 - 1),
}
"""What every chat and completion engine must support, with the contract's ranges (section 4.1)."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a model on its engine can do."""

    model: str
    engine: str
    provider: str = "unknown"
    operations: frozenset[Operation]
    parameters: dict[str, Range] = {}
    """Generation parameters that have an effect, by wire name: the sampling fields, and `echo`,
    `suffix`, `best_of`, `parallel_tool_calls`, `reasoning_effort`. A missing name is refused."""
    content_parts: frozenset[str] = frozenset({"text"})
    """Of `text`, `image`, `audio`."""
    formats: frozenset[str] = frozenset({"text"})
    """Of `text`, `json_object`, `json_schema`."""
    tool_choices: frozenset[str] = frozenset()
    """Of `auto`, `required`, `named`; empty when the model cannot call tools."""
    modalities: frozenset[str] = frozenset({"text"})
    token_prompts: bool = False
    """Whether a completion prompt may be token ids."""
    context_length: int | None = None
    """Tokens of prompt and answer together; for embeddings, tokens of one input."""
    dimensions: int | None = None
    """Length of the model's own vectors; None when somebody else's server does not say."""
    reducible_dimensions: bool = False
    """Whether vectors may be cut to fewer dimensions and normalised again (Matryoshka models)."""
    input_types: frozenset[str] = frozenset({"text", "query", "document"})
    image_captions: bool = False
    """Whether an image to embed may come with a text."""
    max_inputs: int = 2048
    """Inputs per embedding request."""


_NUMBER = (int, float)
_SAMPLING = Sampling.__struct_fields__
_UNASKED = structs.astuple(Sampling())


def check(call: Call, capabilities: Capabilities) -> None:
    """Hold `call` against `capabilities`.

    Raises `OperationNotSupported`, `UnsupportedParameter` or `OutOfRange`, each naming where in
    the request the trouble is.
    """
    match call:
        case ChatCall():
            _require_operation("chat", capabilities)
            _check_chat(call, capabilities)
        case CompletionCall():
            _require_operation("complete", capabilities)
            _check_completion(call, capabilities)
        case EmbedCall():
            _require_operation("embed", capabilities)
            _check_count("input", len(call.texts), capabilities.max_inputs)
            _check_embedding(call, capabilities)
        case ImageEmbedCall():
            _require_operation("embed_images", capabilities)
            _check_count("input", len(call.inputs), capabilities.max_inputs)
            _check_captions(call, capabilities)
            _check_embedding(call, capabilities)


def _require_operation(operation: Operation, capabilities: Capabilities) -> None:
    if operation not in capabilities.operations:
        raise OperationNotSupported(operation, capabilities.model, sorted(capabilities.operations))


def _check_chat(call: ChatCall, capabilities: Capabilities) -> None:
    _check_sampling(call.sampling, capabilities)
    _refuse_extra(call.extra)
    _check_parts(call, capabilities)
    format_name = "json_schema" if isinstance(call.format, JsonSchema) else call.format
    if format_name not in capabilities.formats:
        raise UnsupportedParameter(
            ("response_format",), format_name, f"{capabilities.model} cannot be held to a format."
        )
    for modality in call.modalities:
        if modality not in capabilities.modalities:
            raise UnsupportedParameter(
                ("modalities",), modality, f"{capabilities.model} answers in text only."
            )
    if call.tools and call.tool_choice != "none":
        choice = "named" if isinstance(call.tool_choice, NamedTool) else call.tool_choice
        if choice not in capabilities.tool_choices:
            where = ("tool_choice",) if capabilities.tool_choices else ("tools",)
            raise UnsupportedParameter(
                where, choice, f"{capabilities.model} cannot call tools this way."
            )
    if call.reasoning_effort is not None:
        _check_parameter("reasoning_effort", call.reasoning_effort, capabilities)
    if not call.parallel_tool_calls:
        _check_parameter("parallel_tool_calls", False, capabilities)


def _check_completion(call: CompletionCall, capabilities: Capabilities) -> None:
    _check_sampling(call.sampling, capabilities)
    _refuse_extra(call.extra)
    for name, value, absent in (
        ("echo", call.echo, False),
        ("suffix", call.suffix, None),
        ("best_of", call.best_of, None),
    ):
        if value != absent:
            _check_parameter(name, value, capabilities)
    if call.best_of is not None and call.best_of < call.sampling.n:
        raise OutOfRange(("best_of",), call.best_of, "'best_of' must be at least 'n'.")
    if not capabilities.token_prompts and any(not isinstance(p, str) for p in call.prompts):
        raise UnsupportedParameter(
            ("prompt",), "token ids", f"{capabilities.model} takes prompts as text only."
        )


def _check_sampling(sampling: Sampling, capabilities: Capabilities) -> None:
    asked = structs.astuple(sampling)
    if asked == _UNASKED:
        return
    for name, value, absent in zip(_SAMPLING, asked, _UNASKED, strict=True):
        if value is not absent and value != absent:  # most are the default itself
            _check_parameter(name, value, capabilities)


def _check_parameter(name: str, value: object, capabilities: Capabilities) -> None:
    allowed = capabilities.parameters.get(name)
    if allowed is None:
        raise _unsupported(name, value, capabilities)
    if isinstance(value, _NUMBER) and value not in allowed:
        raise OutOfRange((name,), value, _range_text(name, allowed))


def _check_parts(call: ChatCall, capabilities: Capabilities) -> None:
    taken = capabilities.content_parts
    for position, message in enumerate(call.messages):
        if not isinstance(message, UserMessage):
            continue
        for number, part in enumerate(message.parts):
            kind = _kind_of(part)
            if kind not in taken:
                raise UnsupportedParameter(
                    ("messages", position, "content", number),
                    kind,
                    f"{capabilities.model} does not take {kind} content.",
                )


def _kind_of(part: Part) -> str:
    match part:
        case TextPart():
            return "text"
        case ImagePart():
            return "image"
        case AudioPart():
            return "audio"
        case MediaReference(kind=kind):
            return kind


def _check_embedding(call: EmbeddingCall, capabilities: Capabilities) -> None:
    _refuse_extra(call.extra)
    if call.input_type not in capabilities.input_types:
        raise _unsupported("input_type", call.input_type, capabilities)
    wanted, native = call.dimensions, capabilities.dimensions
    if wanted is None or wanted == native:
        return
    if not capabilities.reducible_dimensions:
        only = "its own" if native is None else native
        raise UnsupportedParameter(
            ("dimensions",), wanted, f"{capabilities.model} has {only} dimensions only."
        )
    if wanted not in Range(1, native):
        raise OutOfRange(("dimensions",), wanted, _range_text("dimensions", Range(1, native)))


def _check_captions(call: ImageEmbedCall, capabilities: Capabilities) -> None:
    for position, item in enumerate(call.inputs):
        if item.text is not None and not capabilities.image_captions:
            raise UnsupportedParameter(
                ("input", position, "text"), item.text, f"{capabilities.model} embeds images alone."
            )


def _check_count(name: str, count: int, maximum: int) -> None:
    if count > maximum:
        raise OutOfRange((name,), count, f"'{name}' may have at most {maximum} items.")


def _refuse_extra(extra: dict[str, Any]) -> None:
    for name, value in extra.items():
        raise UnsupportedParameter((name,), value, "The model knows no parameter of this name.")


def _unsupported(name: str, value: object, capabilities: Capabilities) -> UnsupportedParameter:
    return UnsupportedParameter(
        (name,), value, f"{capabilities.model} does not support the parameter '{name}'."
    )


def _range_text(name: str, allowed: Range) -> str:
    low, high = allowed.minimum, allowed.maximum
    if low is not None and high is not None:
        return f"'{name}' must be between {low} and {high}."
    return f"'{name}' must be at least {low}." if high is None else f"'{name}' is at most {high}."
