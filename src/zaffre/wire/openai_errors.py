"""The JSON of errors in OpenAI's shape (contract, section 8)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class OpenAIErrorItem(Struct):
    """The object that OpenAI's SDKs parse. `param` and `code` are always there, null or not."""

    message: str
    type: str | None
    param: str | None
    code: str | None
    innererror: dict[str, Any] | UnsetType = UNSET


class OpenAIErrorBody(Struct):
    """The body around it."""

    error: OpenAIErrorItem


class ResponsesErrorEvent(Struct):
    """The event that ends a broken stream of the Responses API."""

    sequence_number: int
    error: OpenAIErrorItem
    type: str = "error"
