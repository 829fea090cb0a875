"""Errors between processes: each class keeps its name across the worker's wire."""

from zaffre.core import errors as core
from zaffre.wire import codec
from zaffre.wire.errors import InternalErrorBody, InternalErrorItem

_STATUS: dict[type[core.ZaffreError], int] = {
    core.InvalidRequest: 400,
    core.InvalidParameter: 400,
    core.PromptTooLong: 400,
    core.ContentFiltered: 400,
    core.BodyTooLarge: 413,
    core.UnsupportedParameter: 422,
    core.OutOfRange: 422,
    core.OperationNotSupported: 404,
    core.NotFound: 404,
    core.MethodNotAllowed: 405,
    core.Unauthenticated: 401,
    core.Overloaded: 429,
    core.ModelUnavailable: 503,
    core.ModelTimeout: 504,
    core.EngineFailed: 500,
}
_BY_CODE = {
    kind.code: kind
    for kind in _STATUS
    # A worker that says 401 or 404 to the gateway is the operator's trouble, not the client's.
    if not issubclass(kind, core.Unauthenticated | core.NotFound | core.MethodNotAllowed)
}
_BY_STATUS: dict[int, type[core.ZaffreError]] = {
    400: core.InvalidRequest,
    413: core.InvalidRequest,
    422: core.UnsupportedParameter,
    429: core.Overloaded,
    503: core.ModelUnavailable,
    504: core.ModelTimeout,
}
"""How a foreign server's status is understood; any other is its failure, not the client's."""


def write_internal_error(error: core.ZaffreError) -> tuple[int, InternalErrorBody]:
    """Status and body with which a worker reports `error`."""
    item = InternalErrorItem(
        message=error.message,
        code=error.code,
        type=error.code,
        location=list(error.location),
        value=error.value,
        retry_after_s=error.retry_after_s,
    )
    return _STATUS.get(type(error), 500), InternalErrorBody(item)


def read_internal_error(status: int, content: bytes) -> core.ZaffreError:
    """The error that a worker or a foreign server reported with `status` and `content`."""
    try:
        item = codec.decode(content, InternalErrorBody).error
    except codec.MalformedError:
        item = InternalErrorItem()
    if isinstance(item, str):
        item = InternalErrorItem(message=item)
    kind = _BY_CODE.get(str(item.code)) or _BY_STATUS.get(status, core.EngineFailed)
    plain = core.ZaffreError(
        item.message or f"The model's server answered with status {status}.",
        location=tuple(item.location) or ((item.param,) if item.param else ()),
        value=item.value,
        retry_after_s=item.retry_after_s,
    )
    return kind.restore(plain)
