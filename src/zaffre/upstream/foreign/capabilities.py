"""What other people's servers can do: as declared, else as they say themselves, else as usual."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct, structs

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import Operation
from zaffre.core.capabilities import ANY, GENERATION_PARAMETERS, Capabilities, Range
from zaffre.core.errors import EngineFailed
from zaffre.core.plan import Upstream, UpstreamDialect
from zaffre.upstream.foreign.dialects import OPERATIONS_OF
from zaffre.upstream.foreign.wire import ForeignInfo, ForeignModels

ENGINE = "upstream"
USUAL_OPERATIONS: tuple[Operation, ...] = ("chat", "complete")
CONTENT_PARTS = frozenset(("text", "image", "audio"))
FORMATS = frozenset(("text", "json_object", "json_schema"))
TOOL_CHOICES = frozenset(("auto", "required", "named"))
_OPENAI: dict[str, Range] = {
    **GENERATION_PARAMETERS,
    "n": Range(1, 128),
    "logprobs": Range(0, 20),
    "logit_bias": ANY,
    "parallel_tool_calls": ANY,
    "reasoning_effort": ANY,
    "echo": ANY,
    "suffix": ANY,
    "best_of": Range(1, 20),
}
PARAMETERS: dict[UpstreamDialect, dict[str, Range]] = {
    "openai": _OPENAI,
    "azure-openai": _OPENAI,
    "azure-inference": GENERATION_PARAMETERS,
}
"""What each dialect itself knows."""
DECLARABLE: dict[str, Range] = {
    **_OPENAI,
    "top_k": Range(-1),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(0),
    "stop_token_ids": ANY,
    "ignore_eos": ANY,
}
"""Every generation parameter there is; and two of embeddings, which have names but no ranges."""
EMBEDDING_PARAMETERS = frozenset(("dimensions", "input_type"))
_TYPES: dict[str, tuple[Operation, ...]] = {
    "chat": ("chat", "complete"),
    "completion": ("chat", "complete"),
    "text-generation": ("chat", "complete"),
    "embedding": ("embed",),
    "text-embedding": ("embed",),
    "image-embedding": ("embed_images",),
}
"""Words of `/info` (contract, section 6.2), in their common form."""


class Probed(Struct, frozen=True):
    """What a server says of its model."""

    operations: tuple[Operation, ...] = ()
    provider: str = "unknown"
    context_length: int | None = None
    record: Capabilities | None = None
    """Another Zaffre's own."""


def check_declared(upstream: Upstream) -> None:
    """Raises `ConfigurationError` for a capability that there is not, or not in its dialect."""
    able = OPERATIONS_OF[upstream.dialect]
    _check("operations", upstream.operations, able, f" in the dialect {upstream.dialect}")
    _check("parameters", upstream.parameters or (), {*DECLARABLE, *EMBEDDING_PARAMETERS})
    _check("content_parts", upstream.content_parts or (), CONTENT_PARTS)
    _check("formats", upstream.formats or (), FORMATS)
    if upstream.weight < 1 or upstream.max_calls < 1:
        raise ConfigurationError("An upstream's weight and max_calls are at least 1.")
    if upstream.connect_timeout_s <= 0 or upstream.timeout_s <= 0:
        raise ConfigurationError("An upstream's connect_timeout_s and timeout_s are above 0.")


def read_models(models: ForeignModels, model: str) -> Probed:
    """What a list of models says of `model`; the only model there is, is it whatever its name."""
    rows = models.data or []
    named = [row for row in rows if row.id.lower() == model.lower()]
    if not named and len(rows) != 1:
        return Probed()
    row = (named or rows)[0]
    trained = row.meta.get("n_ctx_train") if isinstance(row.meta, dict) else None
    record = None
    if isinstance(row.capabilities, dict):
        try:
            record = msgspec.convert(row.capabilities, Capabilities)
        except msgspec.ValidationError:
            record = None  # other servers mean other things by this field
    return Probed(
        operations=tuple(sorted(record.operations)) if record else (),
        provider=row.owned_by or "unknown",
        context_length=row.max_model_len or (trained if isinstance(trained, int) else None),
        record=record,
    )


def read_info(info: ForeignInfo) -> Probed:
    """What `/info` says."""
    words = (info.model_type or "").lower().replace("_", "-").replace(" ", "-").removesuffix("s")
    return Probed(
        operations=_TYPES.get(words.removesuffix("-completion"), ()),
        provider=info.model_provider_name or "unknown",
    )


def describe(name: str, upstream: Upstream, probed: Probed) -> Capabilities:
    """What one upstream can do, under the name that it has here."""
    base = probed.record or _usual(upstream.dialect, probed)
    operations = upstream.operations or probed.operations or USUAL_OPERATIONS
    able = OPERATIONS_OF[upstream.dialect]
    stated = structs.replace(
        base,
        model=name,
        engine=ENGINE,
        operations=frozenset(o for o in operations if o in able),
        context_length=upstream.context_length or base.context_length,
        dimensions=upstream.dimensions or base.dimensions,
    )
    if upstream.content_parts is not None:
        stated = structs.replace(stated, content_parts=frozenset(upstream.content_parts))
    if upstream.formats is not None:
        stated = structs.replace(stated, formats=frozenset({"text", *upstream.formats}))
    if upstream.tools is not None:
        choices = TOOL_CHOICES if upstream.tools else frozenset[str]()
        stated = structs.replace(stated, tool_choices=choices)
    if upstream.parameters is None:
        return stated
    declared = frozenset(upstream.parameters)
    return structs.replace(
        stated,
        parameters={n: base.parameters.get(n, r) for n, r in DECLARABLE.items() if n in declared},
        reducible_dimensions="dimensions" in declared,
        input_types=_input_types("input_type" in declared),
    )


def common(name: str, members: Sequence[Capabilities]) -> Capabilities:
    """What all of `members` can do: a call then works on whichever is asked.

    Raises `EngineFailed` when nothing is left, or when their vectors are not of one length.
    """
    first, *others = members
    for other in others:
        first = _both(first, other)
    if not first.operations:
        raise EngineFailed(f"The upstreams of '{name}' have no operation in common.")
    return first


def _usual(dialect: UpstreamDialect, probed: Probed) -> Capabilities:
    azure = dialect == "azure-inference"
    return Capabilities(
        model="",
        engine=ENGINE,
        provider=probed.provider,
        operations=frozenset(),
        parameters=PARAMETERS[dialect],
        content_parts=CONTENT_PARTS,
        formats=FORMATS,
        tool_choices=TOOL_CHOICES,
        token_prompts=not azure,
        context_length=probed.context_length,
        reducible_dimensions=True,
        input_types=_input_types(azure),
        image_captions=azure,
    )


def _input_types(known: bool) -> frozenset[str]:
    return frozenset(("text", "query", "document")) if known else frozenset(("text",))


def _both(one: Capabilities, other: Capabilities) -> Capabilities:
    lengths = {d for d in (one.dimensions, other.dimensions) if d is not None}
    if len(lengths) > 1:
        raise EngineFailed(
            f"The upstreams of '{one.model}' have vectors of different lengths:"
            f" {', '.join(map(str, sorted(lengths)))}."
        )
    windows = [c for c in (one.context_length, other.context_length) if c is not None]
    return structs.replace(
        one,
        operations=one.operations & other.operations,
        parameters={
            name: _narrower(allowed, other.parameters[name])
            for name, allowed in one.parameters.items()
            if name in other.parameters
        },
        content_parts=one.content_parts & other.content_parts,
        formats=one.formats & other.formats,
        tool_choices=one.tool_choices & other.tool_choices,
        modalities=one.modalities & other.modalities,
        token_prompts=one.token_prompts and other.token_prompts,
        context_length=min(windows, default=None),
        dimensions=next(iter(lengths), None),
        reducible_dimensions=one.reducible_dimensions and other.reducible_dimensions,
        input_types=one.input_types & other.input_types,
        image_captions=one.image_captions and other.image_captions,
        max_inputs=min(one.max_inputs, other.max_inputs),
    )


def _narrower(one: Range, other: Range) -> Range:
    lows = [r.minimum for r in (one, other) if r.minimum is not None]
    highs = [r.maximum for r in (one, other) if r.maximum is not None]
    return Range(max(lows, default=None), min(highs, default=None))


def _check(
    field: str,
    stated: Sequence[str],
    known: Sequence[str] | frozenset[str] | set[str],
    where: str = "",
) -> None:
    for name in stated:
        if name not in known:
            raise ConfigurationError(
                f"An upstream's {field} has no '{name}'{where}; there are:"
                f" {', '.join(sorted(known))}."
            )
