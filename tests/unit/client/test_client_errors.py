"""Errors: every shape that servers of the dialect use, and the tree as it is drawn."""

import json
import pickle
import re
from typing import Any

import httpx2
import pytest

from zaffre.client import errors
from zaffre.client.refusals import MAX_SHOWN, read_refusal

SHAPES: list[tuple[Any, str | None, str]] = [
    ({"error": {"code": "c", "message": "m", "details": []}}, "c", "m"),
    ({"error": {"code": 7, "message": "m"}, "status": 400}, "7", "m"),
    ({"error": {"code": None, "message": "m"}}, None, "m"),
    ({"error": "m", "message": None, "status": 400}, None, "m"),
    ({"error": "x", "message": "m"}, None, "m"),
    ({"status": 400, "code": "c", "message": "m", "param": "messages"}, "c", "m"),
    ({"statusCode": 400, "message": "m"}, None, "m"),
    ({"detail": "m"}, None, "m"),
    ({"object": "error", "message": "m", "code": 400}, "400", "m"),
]
KINDS = {
    400: errors.BadRequest,
    401: errors.Unauthenticated,
    403: errors.Unauthenticated,
    404: errors.NotFound,
    405: errors.NotFound,
    408: errors.ModelTimeout,
    409: errors.RequestFailed,
    413: errors.BadRequest,
    422: errors.NotSupported,
    424: errors.RequestFailed,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    502: errors.ServerFailed,
    503: errors.Unavailable,
    504: errors.ModelTimeout,
    307: errors.RequestFailed,
    204: errors.RequestFailed,
}


def refusal(
    body: Any, status: int = 400, headers: dict[str, str] | None = None
) -> errors.RequestFailed:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_refusal(status, httpx2.Headers(headers), content)


@pytest.mark.parametrize(("body", "code", "message"), SHAPES, ids=repr)
def test_every_shape_is_understood(body: Any, code: str | None, message: str):
    """Given an error in one of the known shapes, when it is read, then code and message are."""
    error = refusal(body)
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    "body", [b"", b"NOT FOUND", b"<html>\xff", b"{", b"[1]", {"error": []}, {"detail": [{}]}]
)
def test_no_shape_at_all_is_an_error_too(body: Any):
    """Given a body that says nothing, when it is read, then the status does."""
    error = refusal(body, 404, {"X-Ms-Error-Code": "gone"})
    assert type(error) is errors.NotFound
    assert (error.status, error.code) == (404, "gone")
    assert "404" in error.message


def test_a_page_is_shown_in_part():
    """Given a long page, when it stands for an error, then its start is enough."""
    assert len(refusal(b"\xc3\xa9" * 100_000).message) < MAX_SHOWN + 100


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_the_status_names_the_cause(status: int, kind: type[errors.RequestFailed]):
    """Given a status, when an error is read, then its class says what to make of it."""
    assert type(refusal({"message": "m"}, status)) is kind


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("code", ["unknown_model", "no_model_name", "DeploymentNotFound"])
def test_an_unknown_model_is_one_whatever_the_status(status: int, code: str):
    """Given the codes for it, when an error is read, then it is about the model's name."""
    assert type(refusal({"error": {"code": code, "message": "m"}}, status)) is errors.UnknownModel


@pytest.mark.parametrize(
    "detail", [[{"loc": ["body", "messages", 0], "input": 1}], {"loc": ["body", "messages", 0]}]
)
def test_the_place_in_the_request_is_told(detail: Any):
    """Given a location, when the error is shown, then it can be seen where to look."""
    error = refusal({"message": "No.", "detail": detail}, 422)
    assert error.location == ("body", "messages", 0)
    assert str(error) == "No. (at body.messages.0)"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("12", 12), (" 3 ", 3), ("", None), ("1.5", None), ("-1", None), ("9" * 5000, None)],
)
def test_retry_after_is_whole_seconds(value: str, seconds: int | None):
    """Given the header, when it is not what the API sends, then it counts as none."""
    assert refusal({"message": "m"}, 429, {"retry-after": value}).retry_after_s == seconds


def test_errors_survive_a_process_boundary():
    """Given an error in a worker of a process pool, when it is sent home, then it is the same."""
    error = refusal({"error": {"code": "c", "message": "m"}}, 429, {"retry-after": "3"})
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)


def test_the_tree_is_as_drawn():
    """Given the drawing at the top of the module, when the classes are read, then it is theirs."""
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([ │├└─]*)(\w+)(?:   |$)", line)
        if found:
            depth = len(found[1]) // 4
            above[depth] = found[2]
            drawn[found[2]] = above.get(depth - 1, "Exception")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in kinds}
