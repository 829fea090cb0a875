"""The JSON that other people's servers send: every field may be missing, null, or of another form.

Only what is read stands here; what the shared structs of `zaffre.wire` insist on, these do not.
"""

from typing import Any

from msgspec import Struct

from zaffre.wire.chat import LogprobsBody
from zaffre.wire.completions import CompletionLogprobs


class ForeignUsage(Struct):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None
    estimated: bool | None = None
    """Another Zaffre's word that nobody counted."""


class ForeignFunction(Struct):
    """A function call, or a fragment of one."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ForeignCall(Struct):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | None = None
    function: ForeignFunction | None = None


class ForeignPart(Struct):
    """A part of a content that is a list, as Mistral's reasoning models have it."""

    type: str = ""
    text: str | None = None
    thinking: "str | list[ForeignPart] | None" = None


class ForeignMessage(Struct):
    """A message, or what a chunk adds to one."""

    content: str | list[ForeignPart] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    """The other name of the same; an object on some servers, which is not read."""
    tool_calls: list[ForeignCall] | None = None


class ForeignChatChoice(Struct):
    """A choice of a chat answer, or a chunk's part of one."""

    index: int | None = None
    delta: ForeignMessage | None = None
    message: ForeignMessage | None = None
    finish_reason: str | None = None
    logprobs: LogprobsBody | None = None


class ForeignChat(Struct):
    """A chat answer or a chunk of one; or an error, which also comes with status 200."""

    choices: list[ForeignChatChoice] | None = None
    usage: ForeignUsage | None = None
    error: Any = None
    object: str | None = None


class ForeignTextChoice(Struct):
    """A choice of a text completion, or a chunk's part of one."""

    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: CompletionLogprobs | None = None


class ForeignText(Struct):
    """A text completion or a chunk of one; or an error."""

    choices: list[ForeignTextChoice] | None = None
    usage: ForeignUsage | None = None
    error: Any = None
    object: str | None = None


class ForeignVector(Struct):
    """A vector."""

    embedding: list[float] | str
    index: int | None = None


class ForeignVectors(Struct):
    """Vectors; or an error."""

    data: list[ForeignVector] | None = None
    usage: ForeignUsage | None = None
    error: Any = None
    object: str | None = None


class ForeignModel(Struct):
    """A row of a list of models."""

    id: str = ""
    owned_by: str | None = None
    max_model_len: int | None = None
    """vLLM's word for the context length."""
    meta: Any = None
    """llama.cpp's facts about the file."""
    capabilities: Any = None
    """Another Zaffre's record; other servers mean other things by it."""


class ForeignModels(Struct):
    """What `GET /models` answers."""

    data: list[ForeignModel] | None = None


class ForeignInfo(Struct):
    """What `GET /info` answers."""

    model_name: str | None = None
    model_type: str | None = None
    model_provider_name: str | None = None
