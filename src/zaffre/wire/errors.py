"""The JSON of errors (contract, section 8)."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class ErrorDetail(Struct):
    """Which part of a request is meant. `input` and `value` are the same: the docs name both."""

    loc: list[str | int]
    input: Any
    value: Any
    msg: str


class ErrorItem(Struct):
    """The object that SDKs parse."""

    code: str
    message: str
    param: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    status: int | UnsetType = UNSET
    innererror: dict[str, Any] | UnsetType = UNSET


class AzureErrorBody(Struct):
    """The Azure Model Inference body: what SDKs parse first, then the flat fields of the docs."""

    error: ErrorItem
    status: int
    code: str
    message: str
    detail: list[ErrorDetail] | str | UnsetType = UNSET
    statusCode: int | UnsetType = UNSET  # noqa: N815 - the service's own spelling


class StreamErrorBody(Struct):
    """An error in mid-stream. `choices` keeps clients alive that loop over it."""

    error: ErrorItem
    choices: list[Any] = []


class InternalErrorItem(Struct):
    """A worker's or foreign server's error. OpenAI servers differ in every field but `message`."""

    message: str = ""
    code: str | int | None = None
    type: str | None = None
    param: str | None = None
    location: list[str | int] = []
    value: Any = None
    retry_after_s: int | None = None


class InternalErrorBody(Struct):
    """The body around it."""

    error: InternalErrorItem | str
