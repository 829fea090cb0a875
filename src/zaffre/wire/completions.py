"""The JSON of text completions (contract, section 6.1). Chunks and answers share a shape."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from zaffre.wire.chat import StreamOptions
from zaffre.wire.usage import UsageBody


class CompletionRequest(Struct, omit_defaults=True, kw_only=True):
    """A completion request: the fields of all dialects."""

    prompt: str | list[str | int | list[int]] | None = None
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    stream_options: StreamOptions | None = None


class CompletionLogprobs(Struct):
    """Log probabilities in the old, columnar shape; all columns have one entry per token."""

    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] = []


class CompletionChoice(Struct):
    """One continuation, or a piece of one."""

    index: int = 0
    text: str = ""
    finish_reason: str | None = None
    logprobs: CompletionLogprobs | UnsetType | None = UNSET
    content_filter_results: dict[str, Any] | UnsetType | None = UNSET


class CompletionResponse(Struct, kw_only=True):
    """A whole answer, or a piece of a streamed one."""

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[CompletionChoice] = []
    usage: UsageBody | UnsetType | None = UNSET
    prompt_filter_results: list[Any] | UnsetType | None = UNSET
