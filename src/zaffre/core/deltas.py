"""Deltas: pieces of an answer without a dialect.

A generation is, per choice, any number of `TextDelta`, `ReasoningDelta` and `ToolCallDelta` and
then exactly one `Finish`; after the last choice's `Finish` comes exactly one `Usage`. A stream that
ends without its `Usage` was cut off and is not an answer.
"""

from collections.abc import AsyncGenerator
from typing import Literal

from msgspec import Struct

from zaffre.core.calls import ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Alternative(Struct, frozen=True):
    """A token that could have come here. `token` is text, `content` its bytes."""

    token: str
    logprob: float
    content: bytes


class TokenLogprob(Struct, frozen=True):
    """The natural-log probability of a chosen token, with its most likely alternatives."""

    token: str
    logprob: float
    content: bytes
    alternatives: tuple[Alternative, ...] = ()


class TextDelta(Struct, frozen=True, tag="text"):
    """More text of choice `index`. Never splits a Unicode character."""

    text: str
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class ReasoningDelta(Struct, frozen=True, tag="reasoning"):
    """More of what the model thought before it answered."""

    text: str
    index: int = 0


class ToolCallDelta(Struct, frozen=True, tag="tool_call"):
    """One whole tool call (contract, section 17 row 1: clients need calls in one piece)."""

    call: ToolCall
    index: int = 0


class Finish(Struct, frozen=True, tag="finish"):
    """Choice `index` is complete."""

    reason: FinishReason
    index: int = 0


class Usage(Struct, frozen=True, tag="usage"):
    """What the whole call cost, in tokens. Cached and reasoning tokens are part of the sums."""

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """Whether nobody counted: somebody else's server did not say, and the gateway estimated."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


Delta = TextDelta | ReasoningDelta | ToolCallDelta | Finish | Usage
Deltas = AsyncGenerator[Delta, None]
"""A generation under way. Closing it stops the generation and frees what it holds."""
Batches = AsyncGenerator[list[Delta], None]
"""A generation as it comes over a network: deltas that came together are in one list.

No list is empty, and the `Usage` ends the last one. What every piece of an answer passes through
costs once per list, and the deltas of a list leave in one piece, too.
"""


class Embeddings(Struct, frozen=True):
    """One vector per input, in input order. A vector is its little-endian float32 bytes."""

    vectors: tuple[bytes, ...]
    usage: Usage
