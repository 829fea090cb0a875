"""What other people's servers say when they refuse or fail, put into our terms.

A caller is told what it can mend: the message about its request, cleaned. Everything else is told
in our words, and the server's own go to the log of whoever runs this one.
"""

import logging
import math
import re
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from zaffre.core import errors as core
from zaffre.upstream.foreign.credential import Credential
from zaffre.wire import codec

MAX_MESSAGE_CHARS = 1000
MAX_RETRY_AFTER_S = 300
"""A longer `Retry-After` counts as this: a server may be mistaken about its own tomorrow."""
MAX_STEPS = 8
"""Of the way to a field in a request."""
MAX_STEP_CHARS = 64
_MARKUP = re.compile(r"<\s*(?:!doctype|/?[a-z][a-z0-9]*[\s/>])", re.IGNORECASE)
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|\d+")
_TOO_LONG = frozenset(("context_length_exceeded", "exceed_context_size_error"))
_FILTERED = frozenset(("content_filter", "content_policy_violation"))
_NO_MODEL = frozenset(
    (
        "unknown_model",
        "no_model_name",
        "model_not_found",
        "deploymentnotfound",
        "deployment_not_found",
    )
)
_UNSUPPORTED = frozenset(("unsupported_parameter", "unsupported_value", "parameter_not_supported"))
_ABOUT_THE_REQUEST = frozenset((400, 413, 422))
_NO_SUCH_MODEL = "The server behind this model knows no such model or path."
_FAILURES: tuple[tuple[Container[int], type[core.ZaffreError], str], ...] = (
    (
        (401, 403),
        core.EngineFailed,  # 401 would tell callers that their own key is wrong
        "The server behind this model refused this gateway's credential; whoever runs the gateway"
        " has to renew it.",
    ),
    ((404, 405, 410), core.EngineFailed, _NO_SUCH_MODEL),
    ((408, 504, 524), core.ModelTimeout, "The server behind this model was too slow."),
    ((429,), core.Overloaded, "The server behind this model has too many requests."),
    (
        (409, 425, 502, 503, 521, 522, 523, 529),  # those above 511 are CDNs' and one vendor's
        core.ModelUnavailable,
        "The server behind this model is not available right now.",
    ),
    (
        range(300, 400),
        core.EngineFailed,
        "The server behind this model points elsewhere; its url has to be set to the final one.",
    ),
)
log = logging.getLogger("zaffre.upstream")


class Told(Struct, frozen=True):
    """What an error's body says."""

    message: str = ""
    code: str = ""
    """The word for programs, in lower case."""
    status: int | None = None
    """The HTTP status, where the body repeats it."""
    location: core.Location = ()
    value: object = None


def read_foreign_error(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    credential: Credential | None = None,
) -> core.ZaffreError:
    """The error that a foreign server reported with `status`, `headers` and body `content`."""
    told = read_told(content, credential)
    if status in _ABOUT_THE_REQUEST:
        return _refusal(status, told)
    kind, message = _failure(status, told)
    if status not in (401, 403, 429):  # two say enough by themselves, one is frequent
        # Its message is not logged: it may quote the prompt.
        log.warning("An upstream answered with %d, %.64r.", status, told.code)
    retry_after_s = None
    if issubclass(kind, core.Overloaded | core.ModelUnavailable):
        retry_after_s = read_retry_after(headers)
    return kind.restore(core.ZaffreError(message, retry_after_s=retry_after_s))


def read_stream_error(payload: bytes, credential: Credential | None = None) -> core.ZaffreError:
    """The error that came as an event: its code is the status it would have had, or none."""
    told = read_told(payload, credential)
    mendable = told.code in _TOO_LONG | _FILTERED | _UNSUPPORTED
    return read_foreign_error(400 if mendable else told.status or 500, {}, payload, credential)


def read_told(content: bytes, credential: Credential | None = None) -> Told:
    """What the body says; nothing where it is not JSON, or gives the credential away."""
    try:
        root = codec.decode(content, object)
        # Written anew, it has no spellings in which a secret could hide.
        known = credential is not None and credential.occurs_in(codec.encode(root).decode())
    except codec.MalformedError:
        return Told()
    if known or not isinstance(root, dict):
        return Told()
    item = root.get("error")
    inner = item if isinstance(item, dict) else root
    return Told(
        message=_clean(_message(root, item, inner)),
        code=_code(inner, root),
        status=_status(inner, root),
        location=_location(root, inner),
        value=_value(root),
    )


def read_retry_after(headers: Mapping[str, str]) -> int | None:
    """Whole seconds until the server wants to be asked again, at least 1; None: it does not say."""
    for name, divisor in (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000)):
        if (value := _number(headers.get(name, ""))) is not None:
            return _bounded(value / divisor)
    text = headers.get("Retry-After", "")
    if (value := _number(text)) is not None:
        return _bounded(value)
    until, now = _date(text), _date(headers.get("Date", ""))
    # Its own clock against its own clock: ours may differ.
    return _bounded((until - now).total_seconds()) if until and now else None


def _refusal(status: int, told: Told) -> core.ZaffreError:
    message = told.message or f"The model's server refused the request with status {status}."
    plain = core.ZaffreError(message, location=told.location, value=told.value)
    code = told.code
    if code in _NO_MODEL:
        return core.EngineFailed(_NO_SUCH_MODEL)
    if code in _FILTERED:
        return core.ContentFiltered.restore(plain)
    if code in _TOO_LONG:
        return core.PromptTooLong.restore(plain)
    if status == 413:
        return core.BodyTooLarge.restore(plain)
    if status == 422 or code in _UNSUPPORTED:
        return core.UnsupportedParameter.restore(plain)
    return core.InvalidRequest.restore(plain)


def _failure(status: int, told: Told) -> tuple[type[core.ZaffreError], str]:
    if status == 404 and told.code == core.OperationNotSupported.code:
        return core.OperationNotSupported, told.message or "The model lacks this operation."
    for statuses, kind, message in _FAILURES:
        if status in statuses:
            return kind, message
    return core.EngineFailed, f"The server behind this model failed with status {status}."


def _message(root: dict[Any, Any], item: object, inner: dict[Any, Any]) -> str:
    """The first sentence among the places where servers put one."""
    for found in (inner.get("message"), item, root.get("message"), root.get("detail")):
        text = _sentence(found)
        if text:
            return text
    return ""


def _sentence(found: object) -> str:
    match found:
        case str() if found.lstrip().startswith(("{", "[")):
            return _nested(found)
        case str():
            return found
        case [str() as first, *_]:
            return first
        case [{"msg": str() as first}, *_]:
            return first
        case _:
            return ""


def _nested(text: str) -> str:
    """The message in a message that is JSON itself (contract, section 7)."""
    try:
        root = codec.decode(text.encode(), object)
    except (codec.MalformedError, UnicodeEncodeError):
        return ""
    if not isinstance(root, dict):
        return ""
    for found in (root.get("message"), root.get("detail")):
        match found:
            case str() if not found.lstrip().startswith(("{", "[")):
                return found
            case [{"msg": str() as first}, *_]:
                return first
            case _:
                continue
    return ""


def _clean(message: str) -> str:
    """One line of visible text; none where it is a page."""
    text = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    if _MARKUP.search(text):
        return ""
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"


def _code(inner: dict[Any, Any], root: dict[Any, Any]) -> str:
    for found in (inner.get("code"), inner.get("type"), root.get("code")):
        if isinstance(found, str) and found and not found.isdecimal():
            return found[:MAX_STEP_CHARS].lower()
    return ""


def _status(inner: dict[Any, Any], root: dict[Any, Any]) -> int | None:
    for found in (inner.get("code"), inner.get("status"), root.get("code"), root.get("status")):
        if re.fullmatch(r"[45]\d\d", str(found)):
            return int(str(found))
    return None


def _location(root: dict[Any, Any], inner: dict[Any, Any]) -> core.Location:
    match root.get("detail"):
        case [{"loc": [*steps]}, *_]:
            path = [s for s in steps if isinstance(s, str | int)]
            path = path[1:] if path[:1] in (["body"], ["query"]) else path
        case _:
            param = inner.get("param")
            found = _STEP.findall(param[:256]) if isinstance(param, str) else []
            path = [int(s) if s.isdecimal() else s for s in found]
    short = [s[:MAX_STEP_CHARS] if isinstance(s, str) else s for s in path]
    # What we call it on the way in; there it may have gone out under its newer name.
    return tuple("max_tokens" if s == "max_completion_tokens" else s for s in short)[:MAX_STEPS]


def _value(root: dict[Any, Any]) -> object:
    match root.get("detail"):
        case [{"input": str() | int() | float() as value}, *_]:
            return value
        case _:
            return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _bounded(seconds: float) -> int:
    return min(max(1, math.ceil(seconds)), MAX_RETRY_AFTER_S)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
