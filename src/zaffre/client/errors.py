"""Everything that a call can end with besides an answer.

    ClientError
    ├── ConnectionFailed          no connection: the server has not seen the request
    ├── TimedOut                  nothing came for `timeout_s`
    ├── CutOff                    the answer, or the stream, ended before it was whole
    ├── InvalidAnswer             an answer that is not of this API, or too large
    └── RequestFailed             the server answered with an error
        ├── BadRequest            400, 413     the request is not what the API describes
        │   └── UnknownModel      400, 404     nothing is deployed under this name
        ├── Unauthenticated       401, 403     no valid key, or not allowed
        ├── NotFound              404, 405     no such route, or the model lacks the modality
        ├── NotSupported          422          the API knows it, this model does not
        ├── RateLimited           429          too many requests: try again
        └── ServerFailed          5xx, 408     the server's fault
            ├── ModelTimeout      408, 504     the model was slower than the server's bound
            └── Unavailable       503          starting, restarting or stopped: try again

Arguments that no server is asked about raise Python's own `TypeError` and `ValueError`.
"""


class ClientError(Exception):
    """Base of all errors of a call.

    `message` is one sentence for people. The other attributes are None, or empty, where they are
    not known, as before a server has answered.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
        request_id: str | None = None,
        location: tuple[str | int, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        """The HTTP status."""
        self.code = code
        """The server's stable word for programs."""
        self.retry_after_s = retry_after_s
        """Whole seconds until the server thinks it is worth trying again."""
        self.request_id = request_id
        """What the server's log knows the request by."""
        self.location = location
        """Where in the request the trouble is: `("body", "messages", 0, "role")`."""

    def __str__(self) -> str:
        where = ".".join(map(str, self.location))
        return f"{self.message} (at {where})" if where else self.message


class ConnectionFailed(ClientError):
    """There was no connection, so the server has not seen the request: it is safe to repeat."""


class TimedOut(ClientError):
    """Nothing came for `timeout_s`. The server may have begun to work on the request."""


class CutOff(ClientError):
    """The answer ended before it was whole. In a stream, what came before is only a part of it."""


class InvalidAnswer(ClientError):
    """The server answered something that is not of this API, or that is too large."""


class RequestFailed(ClientError):
    """The server answered with an error; `status` is known."""


class BadRequest(RequestFailed):
    """The request is not what the API describes."""


class UnknownModel(BadRequest):
    """Nothing is deployed under the name, or no name was given where one is needed."""


class Unauthenticated(RequestFailed):
    """The key is not valid, or it is not allowed to do this."""


class NotFound(RequestFailed):
    """The server has no such route, or the model lacks the modality."""


class NotSupported(RequestFailed):
    """The API knows the parameter or value; this model does not support it."""


class RateLimited(RequestFailed):
    """Too many requests. `retry_after_s` says when to try again."""


class ServerFailed(RequestFailed):
    """The server failed at a request with which nothing is known to be wrong."""


class ModelTimeout(ServerFailed):
    """The model was slower than the server's bound."""


class Unavailable(ServerFailed):
    """The model is starting, restarting or stopped. `retry_after_s` says when to try again."""
