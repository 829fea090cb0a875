"""The token counts of an answer (contract, section 4.3)."""

from msgspec import UNSET, Struct, UnsetType


class PromptDetails(Struct):
    """Of the prompt tokens."""

    cached_tokens: int | None = None


class CompletionDetails(Struct):
    """Of the completion tokens."""

    reasoning_tokens: int | None = None


class UsageBody(Struct):
    """Counts are JSON integers: .NET's reader throws on anything else."""

    prompt_tokens: int = 0
    completion_tokens: int | UnsetType = UNSET
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | UnsetType | None = UNSET
    completion_tokens_details: CompletionDetails | UnsetType | None = UNSET
    estimated: bool | UnsetType = UNSET
    """Ours alone, and only there when true: no server counted these tokens."""
