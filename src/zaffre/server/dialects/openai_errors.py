"""What errors look like on OpenAI v1 and on Azure OpenAI deployments (contract, section 8.2)."""

from zaffre.core import errors as core
from zaffre.server.dialects.common import Headers, challenge, container_headers, retry_after
from zaffre.server.dialects.filter_results import inner_error
from zaffre.wire import codec, sse
from zaffre.wire.openai_errors import OpenAIErrorBody, OpenAIErrorItem, ResponsesErrorEvent

_STATUS: dict[type[core.ZaffreError], int] = {
    core.BodyTooLarge: 413,
    core.NoModel: 400,
    core.UnknownModel: 404,
    core.InvalidRequest: 400,
    core.UnsupportedParameter: 400,
    core.OperationNotSupported: 404,
    core.NotFound: 404,
    core.MethodNotAllowed: 405,
    core.Unauthenticated: 401,
    core.PermissionDenied: 403,
    core.Conflict: 409,
    core.Overloaded: 429,
    core.IssuerUnavailable: 503,
    core.ModelUnavailable: 503,
    core.MeteringUnavailable: 503,
    core.ModelTimeout: 408,
    core.ModelContainerFailed: 424,
    core.EngineFailed: 500,
}
_CODES: dict[type[core.ZaffreError], str] = {
    core.OutOfRange: "invalid_value",
    core.UnsupportedParameter: "unsupported_parameter",
    core.InvalidParameter: "invalid_value",
    core.Unauthenticated: "invalid_api_key",
    core.Overloaded: "rate_limit_exceeded",
}
_RESPONSES_NAMES: dict[str | int, core.Location] = {
    "max_tokens": ("max_output_tokens",),
    "reasoning_effort": ("reasoning", "effort"),
    "response_format": ("text", "format"),
}
"""Fields of chat that the Responses API calls otherwise."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
DEPLOYMENT_NOT_FOUND = (
    "The API deployment for this resource does not exist. If you created the deployment within the"
    " last 5 minutes, please wait a moment and try again."
)
ACCESS_DENIED = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a"
    " valid key for an active subscription and use a correct regional API endpoint for your"
    " resource."
)


class OpenAIErrorStyle:
    """The `ErrorStyle` of both dialects; `azure` has words of its own for a few cases."""

    def __init__(self, *, azure: bool) -> None:
        self._azure = azure

    def render(self, error: core.ZaffreError) -> tuple[int, Headers, bytes]:
        """Status, headers and body."""
        status = _status_of(error)
        item = self._item(error, status)
        headers = [(b"x-ms-error-code", (item.code or error.code).encode())] if self._azure else []
        if status in (429, 503):
            headers.extend(retry_after(error))
        if isinstance(error, core.MethodNotAllowed):
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        if status == 401:
            headers.extend(challenge(error))
        if isinstance(error, core.ModelContainerFailed):
            headers.extend(container_headers(error))
        return status, headers, codec.encode(OpenAIErrorBody(item))

    def render_event(self, error: core.ZaffreError, number: int) -> bytes:
        """OpenAI's SDKs raise on an event with an error object."""
        return sse.frame(codec.encode(OpenAIErrorBody(self._item(error, _status_of(error)))))

    def _item(self, error: core.ZaffreError, status: int) -> OpenAIErrorItem:
        if isinstance(error, core.ContentFiltered):
            found = inner_error(error.screened)
            return OpenAIErrorItem(error.message, None, "prompt", error.code, found)
        if self._azure:
            match error:
                case core.UnknownModel():
                    message = f"{DEPLOYMENT_NOT_FOUND} (Asked for: {error.value})"
                    return OpenAIErrorItem(message, None, None, "DeploymentNotFound")
                case core.Unauthenticated():
                    return OpenAIErrorItem(ACCESS_DENIED, None, None, "401")
                case core.NotFound():
                    return OpenAIErrorItem(
                        f"Resource not found. {error.message}", None, None, "404"
                    )
                case core.Overloaded():
                    return OpenAIErrorItem(error.message, None, None, "429")
                case _:
                    pass
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        code = next((c for k, c in _CODES.items() if isinstance(error, k)), error.code)
        return OpenAIErrorItem(error.message, kind, _param(self._place(error)), code)

    def _place(self, error: core.ZaffreError) -> core.Location:
        return error.location


class ResponsesErrorStyle(OpenAIErrorStyle):
    """The `ErrorStyle` of the Responses API, which has names of its own for the fields of chat."""

    def render_event(self, error: core.ZaffreError, number: int) -> bytes:
        """OpenAI's SDKs raise on the error object, Vercel's AI SDK on the event's type."""
        item = self._item(error, _status_of(error))
        return b"event: error\n" + sse.frame(codec.encode(ResponsesErrorEvent(number, item)))

    def _place(self, error: core.ZaffreError) -> core.Location:
        if type(error) is core.InvalidRequest:  # about the client's own names
            return error.location
        first, *inside = error.location or ("",)
        if first == "messages":  # their numbers differ from those of the items
            return ("input",)
        rest = (step for step in inside if step not in ("function", "json_schema"))
        return (*_RESPONSES_NAMES.get(first, error.location[:1]), *rest)


def _status_of(error: core.ZaffreError) -> int:
    return next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)


def _param(place: core.Location) -> str | None:
    """OpenAI writes places as `messages[0].content`."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place)
    return text.removeprefix(".") or None
