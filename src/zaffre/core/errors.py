"""Everything that can go wrong with a request, by cause.

    ZaffreError
    ├── InvalidRequest            the request is not what the API describes
    │   ├── InvalidParameter      a value of the wrong type or form
    │   ├── ExtraParameters       root keys outside the schema, not allowed to pass
    │   ├── PromptTooLong         more tokens than the model's context
    │   ├── BodyTooLarge          more bytes, or deeper nesting, than the server takes
    │   ├── RequestAboveQuota     more tokens than the caller's quota ever has
    │   ├── NoModel               several models here, none named
    │   ├── UnknownModel          a name nothing is deployed under
    │   └── ContentFiltered       the content safety policy does not let the prompt through
    ├── UnsupportedParameter      the API knows it, this model does not
    │   └── OutOfRange            a number beyond the model's bounds
    ├── OperationNotSupported     the model lacks the modality
    ├── NotFound                  no such route or resource
    │   └── NoTraffic             an endpoint whose deployments all have a share of 0
    ├── MethodNotAllowed
    ├── Unauthenticated           no valid key
    │   └── InvalidToken          a token was shown, and it is not valid
    ├── PermissionDenied          a valid key that is not for this
    ├── Conflict                  what is asked does not fit what is running
    ├── Overloaded                full queue: try again
    │   └── QuotaExceeded         the caller's share is used up: try again later
    ├── IssuerUnavailable         whoever signs tokens cannot be asked for its keys: try again
    ├── ModelUnavailable          starting, restarting or stopped: try again
    │   └── ModelUnreachable      nothing of the request has reached it
    ├── MeteringUnavailable       use cannot be accounted for at present, so nothing is served
    ├── ModelTimeout              slower than the bound
    └── EngineFailed              the engine broke on this request
        └── ModelContainerFailed  the same behind a managed endpoint, which has a status for it

Only a dialect knows what an error looks like on the wire.
"""

from collections.abc import Sequence
from typing import Self

from zaffre.core.metering import RateLimits
from zaffre.core.safety import Screened

Location = tuple[str | int, ...]


class ZaffreError(Exception):
    """Base of all errors that reach a client.

    `message` is one sentence for people, with the way out where there is one; `code` is the stable
    word for programs.
    """

    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        location: Location = (),
        value: object = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        """Where in the request: field names and list positions from the root."""
        self.value = value
        """What stood there."""
        self.retry_after_s = retry_after_s
        """Whole seconds until it is worth trying again; None when it never is."""

    @classmethod
    def restore(cls, original: "ZaffreError") -> Self:
        """An error of this class with the content of `original` (errors cross process borders)."""
        error = cls.__new__(cls)
        ZaffreError.__init__(
            error,
            original.message,
            location=original.location,
            value=original.value,
            retry_after_s=original.retry_after_s,
        )
        return error


class InvalidRequest(ZaffreError):
    """The request is not what the API describes."""

    code = "invalid_request"

    def __init__(self, message: str, location: Location = (), value: object = None) -> None:
        super().__init__(message, location=location, value=value)


class InvalidParameter(InvalidRequest):
    """A parameter has a value of the wrong type or form."""

    code = "invalid_parameter"

    def __init__(self, location: Location, value: object, message: str) -> None:
        super().__init__(message, location, value)


class ExtraParameters(InvalidRequest):
    """Root keys outside the schema while `extra-parameters` forbids them."""

    code = "extra_parameters_not_allowed"

    def __init__(self, names: Sequence[str]) -> None:
        # The service's own sentence (contract, section 7); clients parse its first bracket.
        super().__init__(
            f"Extra parameters {list(names)} are not allowed when extra-parameters is not set or"
            " set to be 'error'. Set extra-parameters to 'pass-through' to pass to the model."
        )


class PromptTooLong(InvalidRequest):
    """The prompt has more tokens than fit."""

    code = "context_length_exceeded"

    def __init__(self, tokens: int, limit: int, location: Location = ("messages",)) -> None:
        super().__init__(
            f"This model's maximum context length is {limit} tokens, but the request has {tokens}."
            " Please shorten it.",
            location,
        )


class BodyTooLarge(InvalidRequest):
    """More bytes than the server takes."""

    code = "request_too_large"


class NoModel(InvalidRequest):
    """No model was named and none is the default."""

    code = "no_model_name"

    def __init__(self) -> None:
        super().__init__(
            "No model specified in request. Please provide a model name in the request body or as a"
            " x-ms-model-mesh-model-name header."
        )


class UnknownModel(InvalidRequest):
    """Nothing is deployed under this name."""

    code = "unknown_model"

    def __init__(self, model: str) -> None:
        super().__init__(f"Unknown model: {model}", ("model",), model)


class UnsupportedParameter(ZaffreError):
    """The API knows the parameter or value; this model does not support it."""

    code = "parameter_not_supported"

    def __init__(self, location: Location, value: object, message: str) -> None:
        super().__init__(message, location=location, value=value)


class OutOfRange(UnsupportedParameter):
    """A number beyond the model's bounds."""

    code = "parameter_out_of_range"


class OperationNotSupported(ZaffreError):
    """The model lacks the modality that this route is about."""

    code = "operation_not_found"

    def __init__(self, operation: str, model: str | None, supported: Sequence[str]) -> None:
        who = "any model here" if model is None else f"model '{model}'"
        super().__init__(
            f"Operation '{operation}' was not found on {who}, which supports:"
            f" {', '.join(supported)}."
        )


class NotFound(ZaffreError):
    """No such route or resource."""

    code = "not_found"


class NoTraffic(NotFound):
    """An endpoint none of whose deployments has a positive share (contract, section 9)."""

    code = "no_traffic"

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            f"Endpoint '{endpoint}' was not found to have a deployment with traffic. Set one with"
            f" 'zaffre online-endpoint update -n {endpoint} --traffic NAME=100', or name one in the"
            " header azureml-model-deployment."
        )


class MethodNotAllowed(ZaffreError):
    """The route exists, with another method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"Method {method} is not allowed here; use {' or '.join(allowed)}.")
        self.allowed = tuple(allowed)


class Unauthenticated(ZaffreError):
    """No key, or not a valid one."""

    code = "unauthenticated"

    def __init__(self) -> None:
        # Contract, section 8.2 (401): the SDK's own test asserts this text.
        super().__init__(
            "Auth token validation failed. Please provide a valid key or a valid AAD token"
        )


class InvalidToken(Unauthenticated):
    """A bearer token was shown that is not valid, or not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.message += ". The token is not valid, is for another audience, or has expired."


class PermissionDenied(ZaffreError):
    """The caller is known, and may not do this."""

    code = "permission_denied"


class Conflict(ZaffreError):
    """What is asked does not fit what is there; the message says what to do first."""

    code = "conflict"


class Overloaded(ZaffreError):
    """The queue is full. Whole seconds until it is worth trying again."""

    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class IssuerUnavailable(ZaffreError):
    """A token cannot be verified: its issuer's keys are not known and cannot be fetched."""

    code = "issuer_unavailable"

    def __init__(self, retry_after_s: int = 10) -> None:
        super().__init__(
            "The issuer of this token cannot be asked for its keys. Try again later.",
            retry_after_s=retry_after_s,
        )


class ModelUnavailable(ZaffreError):
    """The model is starting, restarting or stopped."""

    code = "model_unavailable"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class ModelUnreachable(ModelUnavailable):
    """No connection: nothing of the request has reached the model, so it may be sent again."""


class ModelTimeout(ZaffreError):
    """The model was slower than the bound."""

    code = "request_timeout"


class EngineFailed(ZaffreError):
    """The engine broke on this request; nothing is known to be wrong with the request."""

    code = "engine_failed"


class ModelContainerFailed(EngineFailed):
    """The engine behind a managed endpoint broke (contract, section 8.2: 424)."""

    code = "model_error"


class ContentFiltered(InvalidRequest):
    """The content safety policy does not let the prompt through."""

    code = "content_filter"
    screened: Screened | None = None
    """What was found; None when somebody else's server refused."""

    def __init__(self, screened: Screened, location: Location = ("prompt",)) -> None:
        # The service's own sentence (contract, section 8.2), without its owner.
        super().__init__(
            "The response was filtered due to the prompt triggering the content management policy."
            " Please modify your prompt and retry.",
            location,
        )
        self.screened = screened


class QuotaExceeded(Overloaded):
    """A limit of the caller's is used up. `retry_after_s` is true: then this request fits."""

    code = "quota_exceeded"

    def __init__(self, message: str, retry_after_s: int, *, limit: str, rates: RateLimits) -> None:
        super().__init__(message, retry_after_s)
        self.limit = limit
        """Which: a field of `Limits`."""
        self.rates = rates
        """What is left of the limits per minute."""


class RequestAboveQuota(InvalidRequest):
    """The request may use more tokens than its quota has even when nothing of it is used."""

    code = "request_above_quota"

    def __init__(self, tokens: int, limit: int, span: str) -> None:
        super().__init__(
            f"This request may use {tokens} tokens, but the limit is {limit} per {span}. Ask for"
            " less with 'max_tokens', or shorten the prompt.",
            ("max_tokens",),
        )


class MeteringUnavailable(ZaffreError):
    """What requests use cannot be written down at present, so none is served."""

    code = "metering_unavailable"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
