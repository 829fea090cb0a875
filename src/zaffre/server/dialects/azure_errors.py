"""What errors look like in the Azure AI Model Inference dialect (contract, section 8)."""

from msgspec import UNSET

from zaffre.core import errors as core
from zaffre.server.dialects.common import Headers
from zaffre.wire import codec
from zaffre.wire.errors import AzureErrorBody, ErrorDetail, ErrorItem, StreamErrorBody

_STATUS: dict[type[core.ZaffreError], int] = {
    core.BodyTooLarge: 413,
    core.InvalidRequest: 400,
    core.UnsupportedParameter: 422,
    core.OperationNotSupported: 404,
    core.NotFound: 404,
    core.MethodNotAllowed: 405,
    core.Unauthenticated: 401,
    core.Overloaded: 429,
    core.ModelUnavailable: 503,
    # Azure's managed endpoints say 408; unlike 504, clients do not repeat it three times.
    core.ModelTimeout: 408,
    core.EngineFailed: 500,
}
_RETRYABLE = (429, 503)
"""Only these may carry `Retry-After`: azure-core retries whatever has it (contract, 3.2)."""
MAX_SHOWN = 256
"""Characters of an offending value that are shown again."""


def status_of(error: core.ZaffreError) -> int:
    """The HTTP status of `error`."""
    return next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)


class AzureErrorStyle:
    """The dialect's `ErrorStyle`."""

    def render(self, error: core.ZaffreError) -> tuple[int, Headers, bytes]:
        """Status, headers and body: the `error` object first, then the flat fields."""
        return render(error)

    def render_event(self, error: core.ZaffreError) -> bytes:
        """An event that loops over `choices` survive."""
        return render_event(error)


def render(error: core.ZaffreError) -> tuple[int, Headers, bytes]:
    """Status, headers and body of `error`: the `error` object first, then the flat fields."""
    status = status_of(error)
    code = _code_of(error)
    body = AzureErrorBody(
        error=ErrorItem(code, error.message, status=status),
        status=status,
        code=code,
        message=error.message,
        detail=_detail(error),
        statusCode=status if status == 401 else UNSET,
    )
    headers = [(b"x-ms-error-code", code.encode())]
    if status in _RETRYABLE:
        headers.append((b"retry-after", str(error.retry_after_s or 1).encode()))
    if isinstance(error, core.MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, codec.encode(body)


def render_event(error: core.ZaffreError) -> bytes:
    """The payload that tells of `error` in mid-stream."""
    item = ErrorItem(_code_of(error), error.message, status=status_of(error))
    return codec.encode(StreamErrorBody(item))


def _code_of(error: core.ZaffreError) -> str:
    # Clients compare with the docs' one word for everything that the model does not support.
    if isinstance(error, core.UnsupportedParameter):
        return core.UnsupportedParameter.code
    return error.code


def _detail(error: core.ZaffreError) -> list[ErrorDetail] | str:
    if isinstance(error, core.ExtraParameters):
        return error.message  # as the service has it (contract, section 7)
    if not error.location:
        return []
    shown = _shown(error.value)
    return [ErrorDetail(["body", *error.location], shown, shown, error.message)]


def _shown(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
