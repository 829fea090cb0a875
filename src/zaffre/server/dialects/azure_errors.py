"""What errors look like in the Azure AI Model Inference dialect (contract, section 8)."""

import reprlib

from msgspec import UNSET

from zaffre.core import errors as core
from zaffre.server.dialects.common import Headers, challenge, container_headers, retry_after
from zaffre.server.dialects.filter_results import inner_error
from zaffre.wire import codec, sse
from zaffre.wire.errors import AzureErrorBody, ErrorDetail, ErrorItem, StreamErrorBody

_STATUS: dict[type[core.ZaffreError], int] = {
    core.BodyTooLarge: 413,
    core.InvalidRequest: 400,
    core.UnsupportedParameter: 422,
    core.OperationNotSupported: 404,
    core.NotFound: 404,
    core.MethodNotAllowed: 405,
    core.Unauthenticated: 401,
    # Azure's table has it under 401 (contract, section 8.2).
    core.PermissionDenied: 401,
    core.Conflict: 409,
    core.Overloaded: 429,
    core.IssuerUnavailable: 503,
    core.ModelUnavailable: 503,
    core.MeteringUnavailable: 503,
    # Azure's managed endpoints say 408; unlike 504, clients do not repeat it three times.
    core.ModelTimeout: 408,
    core.ModelContainerFailed: 424,
    core.EngineFailed: 500,
}
_RETRYABLE = (429, 503)
"""Only these may carry `Retry-After`: azure-core retries whatever has it (contract, 3.2)."""
MAX_SHOWN = 256
"""Characters of an offending value that are shown again."""
MAX_MESSAGE = 4096
"""Characters of a message: names in it are the client's, and can be as long as its body."""
_PLACES = {"api-version": "query", "extra-parameters": "header"}
"""Parameters that are not in the body."""


def status_of(error: core.ZaffreError) -> int:
    """The HTTP status of `error`."""
    return next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)


class AzureErrorStyle:
    """The dialect's `ErrorStyle`."""

    def render(self, error: core.ZaffreError) -> tuple[int, Headers, bytes]:
        """Status, headers and body: the `error` object first, then the flat fields."""
        return render(error)

    def render_event(self, error: core.ZaffreError, number: int) -> bytes:
        """An event that loops over `choices` survive."""
        return sse.frame(render_event(error))


def render(error: core.ZaffreError) -> tuple[int, Headers, bytes]:
    """Status, headers and body of `error`: the `error` object first, then the flat fields."""
    status = status_of(error)
    item = _item(error)
    body = AzureErrorBody(
        error=item,
        status=status,
        code=item.code,
        message=item.message,
        detail=_detail(error, item.message),
        statusCode=status if status == 401 else UNSET,
    )
    headers = [(b"x-ms-error-code", item.code.encode())]
    if status in _RETRYABLE:
        headers.extend(retry_after(error))
    if isinstance(error, core.MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if status == 401:
        headers.extend(challenge(error))
    if isinstance(error, core.ModelContainerFailed):
        headers.extend(container_headers(error))
    return status, headers, codec.encode(body)


def render_event(error: core.ZaffreError) -> bytes:
    """The payload that tells of `error` in mid-stream."""
    return codec.encode(StreamErrorBody(_item(error)))


def _item(error: core.ZaffreError) -> ErrorItem:
    item = ErrorItem(_code_of(error), _cut(error.message, MAX_MESSAGE), status=status_of(error))
    if isinstance(error, core.ContentFiltered):
        item.param, item.type, item.innererror = "prompt", None, inner_error(error.screened)
    return item


def _code_of(error: core.ZaffreError) -> str:
    # Clients compare with the docs' one word for everything that the model does not support.
    if isinstance(error, core.UnsupportedParameter):
        return core.UnsupportedParameter.code
    return error.code


def _detail(error: core.ZaffreError, message: str) -> list[ErrorDetail] | str:
    if isinstance(error, core.ExtraParameters):
        return message  # as the service has it (contract, section 7)
    if not error.location:
        return []
    place = "body"
    if isinstance(error, core.InvalidParameter):
        place = _PLACES.get(str(error.location[0]), place)
    shown = _shown(error.value)
    path = [_cut(step, MAX_SHOWN) if isinstance(step, str) else step for step in error.location]
    return [ErrorDetail([place, *path], shown, shown, message)]


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    # A list or object may be as deep and as long as the body; reprlib stops early.
    return _cut(value if isinstance(value, str) else reprlib.repr(value), MAX_SHOWN)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
