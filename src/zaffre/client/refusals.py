"""Reads what servers of this dialect answer instead of a result (contract, section 8)."""

from collections.abc import Mapping

from msgspec import Struct

from zaffre.client.errors import (
    BadRequest,
    CutOff,
    ModelTimeout,
    NotFound,
    NotSupported,
    RateLimited,
    RequestFailed,
    ServerFailed,
    Unauthenticated,
    Unavailable,
    UnknownModel,
)
from zaffre.wire import codec

RETRYABLE = (429, 503)
"""Only with these does `Retry-After` mean that repeating is safe and useful."""
MAX_SHOWN = 512
"""Characters of a body that has no message in it which are shown instead."""
_MAX_DIGITS = 6
_REQUEST_IDS = ("x-request-id", "apim-request-id", "x-ms-client-request-id")
_BY_CODE: dict[str, type[RequestFailed]] = {
    "unknown_model": UnknownModel,
    "no_model_name": UnknownModel,
    "DeploymentNotFound": UnknownModel,
}
_BY_STATUS: dict[int, type[RequestFailed]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Unauthenticated,
    404: NotFound,
    405: NotFound,
    408: ModelTimeout,
    413: BadRequest,
    422: NotSupported,
    429: RateLimited,
    503: Unavailable,
    504: ModelTimeout,
}


class _AnyError(Struct):
    """An error in any of the shapes that are in use; which one it is, the types tell."""

    error: object = None
    code: object = None
    message: object = None
    detail: object = None


class _Error(Struct):
    """What an error body says, as far as it does."""

    status: int | None
    code: str | None
    message: str
    location: tuple[str | int, ...] = ()


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> RequestFailed:
    """The error that a server answered with. Understands every known shape, and none at all."""
    found = _read_error(body)
    code, message = found.code or headers.get("x-ms-error-code"), found.message
    if not message:
        shown = body[: 4 * MAX_SHOWN].decode("utf-8", "replace").strip()[:MAX_SHOWN]
        message = f"The server answered with status {status}. {shown}".rstrip()
    fallback = ServerFailed if status >= 500 else RequestFailed
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status, fallback)
    return kind(
        message,
        status=status,
        code=code,
        retry_after_s=read_retry_after(headers),
        request_id=read_request_id(headers),
        location=found.location,
    )


def read_error_event(payload: bytes, request_id: str | None) -> CutOff | None:
    """The error that an event in a stream tells of; None when it is a chunk of the answer."""
    # Inside a text the quotation marks would be escaped: most chunks are spared a second reading.
    if b'"error"' not in payload:
        return None
    try:
        if codec.decode(payload, _AnyError).error is None:
            return None
    except codec.MalformedError:
        return None
    found = _read_error(payload)
    return CutOff(
        found.message or "The server failed in the middle of the stream.",
        status=found.status,
        code=found.code,
        request_id=request_id,
    )


def read_retry_after(headers: Mapping[str, str]) -> int | None:
    """The header's seconds, as this API sends them; a date counts as none."""
    value = headers.get("retry-after", "").strip()
    is_number = value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS
    return int(value) if is_number else None


def read_request_id(headers: Mapping[str, str]) -> str | None:
    """What the server's log knows the request by."""
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def _read_error(body: bytes) -> _Error:
    try:
        found = codec.decode(body, _AnyError)
    except codec.MalformedError:
        return _Error(None, None, "")
    inner = found.error if isinstance(found.error, dict) else {}
    status, code = inner.get("status"), inner.get("code") or found.code
    texts = (inner.get("message"), found.message, found.error, found.detail)
    return _Error(
        status if isinstance(status, int) else None,
        str(code) if code else None,
        next((text for text in texts if isinstance(text, str) and text), ""),
        _read_location(found.detail),
    )


def _read_location(detail: object) -> tuple[str | int, ...]:
    """`loc` of the first detail; the docs show both a list and a bare object."""
    first = detail[0] if isinstance(detail, list) and detail else detail
    steps = first.get("loc") if isinstance(first, dict) else None
    if not isinstance(steps, list):
        return ()
    return tuple(step for step in steps if isinstance(step, str | int))
