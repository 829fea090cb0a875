"""Errors of the Azure dialect: a status and a body for every cause."""

import json
from typing import Any

import pytest

from zaffre.core import errors
from zaffre.core.metering import RateLimits
from zaffre.core.safety import Screened
from zaffre.server.dialects.azure_errors import MAX_MESSAGE, AzureErrorStyle

STYLE = AzureErrorStyle()
STATUS = {
    errors.InvalidRequest("No."): 400,
    errors.InvalidParameter(("a",), 1, "No."): 400,
    errors.ExtraParameters(["a"]): 400,
    errors.PromptTooLong(2, 1): 400,
    errors.NoModel(): 400,
    errors.UnknownModel("a"): 400,
    errors.Unauthenticated(): 401,
    errors.InvalidToken(): 401,
    errors.OperationNotSupported("chat", "a", ["embed"]): 404,
    errors.NotFound("No."): 404,
    errors.MethodNotAllowed("GET", ["POST"]): 405,
    errors.ModelTimeout("Slow."): 408,
    errors.BodyTooLarge("Large."): 413,
    errors.UnsupportedParameter(("a",), 1, "No."): 422,
    errors.OutOfRange(("a",), 1, "No."): 422,
    errors.Overloaded("Full.", retry_after_s=7): 429,
    errors.QuotaExceeded("Used up.", 7, limit="tokens_per_day", rates=RateLimits()): 429,
    errors.RequestAboveQuota(9, 5, "minute"): 400,
    errors.MeteringUnavailable("The disk is full.", retry_after_s=5): 503,
    errors.ContentFiltered(Screened()): 400,
    errors.NoTraffic("shop"): 404,
    errors.PermissionDenied("Not for you."): 401,
    errors.Conflict("Take its traffic first."): 409,
    errors.EngineFailed("Broke."): 500,
    errors.ModelContainerFailed("Broke."): 424,
    errors.ZaffreError("Bug."): 500,
    errors.IssuerUnavailable(retry_after_s=5): 503,
    errors.ModelUnavailable("Starting.", retry_after_s=5): 503,
    errors.ModelUnreachable("Gone.", retry_after_s=5): 503,
}


def _rendered(error: errors.ZaffreError) -> tuple[int, dict[bytes, bytes], Any]:
    status, headers, body = STYLE.render(error)
    return status, dict(headers), json.loads(body)


@pytest.mark.parametrize(("error", "status"), STATUS.items(), ids=lambda e: type(e).__name__)
def test_a_cause_has_its_status(error: errors.ZaffreError, status: int):
    found, headers, body = _rendered(error)
    assert found == status == body["status"] == body["error"]["status"]
    assert headers[b"x-ms-error-code"].decode() == body["code"] == body["error"]["code"]
    assert body["message"] == body["error"]["message"] == error.message
    event = STYLE.render_event(error, 3)
    assert event.endswith(b"\n\n")
    assert json.loads(event.removeprefix(b"data: ")) == {"error": body["error"], "choices": []}


def test_every_cause_is_in_the_table():
    def kinds(root: type[errors.ZaffreError]) -> set[type[errors.ZaffreError]]:
        return {root}.union(*(kinds(child) for child in root.__subclasses__()))

    own = {kind for kind in kinds(errors.ZaffreError) if kind.__module__ == errors.__name__}
    assert own == {type(error) for error in STATUS}


@pytest.mark.parametrize("error", STATUS, ids=lambda e: type(e).__name__)
def test_only_what_is_worth_trying_again_says_when(error: errors.ZaffreError):
    status, headers, _ = _rendered(error)
    expected = {429: b"7", 503: b"5"}.get(status)
    assert headers.get(b"retry-after") == expected


def test_seconds_to_wait_are_never_missing():
    for error in (errors.Overloaded("Full."), errors.ModelUnavailable("Starting.")):
        assert _rendered(error)[1][b"retry-after"] == b"1"
    late = errors.EngineFailed.restore(errors.Overloaded("Full."))
    assert b"retry-after" not in _rendered(late)[1]


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (errors.InvalidRequest("No."), []),
        (
            errors.InvalidParameter(("messages", 3, "content"), "x", "No."),
            [{"loc": ["body", "messages", 3, "content"], "input": "x", "value": "x", "msg": "No."}],
        ),
        (
            errors.InvalidParameter(("api-version",), "x", "No."),
            [{"loc": ["query", "api-version"], "input": "x", "value": "x", "msg": "No."}],
        ),
        (
            errors.UnsupportedParameter(("api-version",), True, "No."),
            [{"loc": ["body", "api-version"], "input": True, "value": True, "msg": "No."}],
        ),
        (
            errors.OutOfRange(("seed",), 2**70, "No."),
            [{"loc": ["body", "seed"], "input": 2**70, "value": 2**70, "msg": "No."}],
        ),
        (
            errors.UnsupportedParameter(("foo",), {"a": [1]}, "No."),
            [{"loc": ["body", "foo"], "input": "{'a': [1]}", "value": "{'a': [1]}", "msg": "No."}],
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_detail_says_where_and_what(error: errors.ZaffreError, detail: Any):
    assert _rendered(error)[2]["detail"] == detail


def test_nothing_the_client_sent_makes_a_long_answer():
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for value in ("x" * 10**6, ["x" * 10**6] * 9, {"k" * 10**6: 1}, deep, list(range(10**6))):
        error = errors.UnsupportedParameter(("f" * 10**6,), value, "m" * 10**6)
        _, _, body = STYLE.render(error)
        assert len(body) < 4 * (MAX_MESSAGE + 1000)
    while deep:
        (deep,) = deep


def test_an_allowed_method_and_the_kind_of_key_are_named():
    assert _rendered(errors.MethodNotAllowed("PUT", ["GET", "POST"]))[1][b"allow"] == b"GET, POST"
    _, headers, body = _rendered(errors.Unauthenticated())
    assert headers[b"www-authenticate"] == b"Bearer"
    assert body["statusCode"] == 401
    _, headers, body = _rendered(errors.InvalidToken())
    assert headers[b"www-authenticate"] == b'Bearer error="invalid_token"'
    assert headers[b"x-ms-error-reason"] == b"Invalid JWT."
    assert "auth token validation failed" in body["message"].lower()
