"""What foreign servers refuse, and how callers are told: by cause, without pages and secrets."""

from typing import Any
from urllib.parse import quote

import pytest
from fault_server import (
    COUNTED,
    GOOD_ANSWER,
    GOOD_STREAM,
    FaultServer,
    refusal,
    said,
    stream,
    whole,
)
from pool_calls import SECRET, Open, asking, chat

from zaffre.core import errors
from zaffre.core.calls import EmbedCall
from zaffre.core.deltas import Usage

HTML = b"<html><head><title>503</title></head><body>nginx at backend-7.internal</body></html>"


async def refused(client: Any, **options: Any) -> errors.ZaffreError:
    with pytest.raises(errors.ZaffreError) as raised:
        await chat(client, **options)
    return raised.value


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (413, errors.BodyTooLarge),
        (422, errors.UnsupportedParameter),
        (401, errors.EngineFailed),
        (402, errors.EngineFailed),
        (403, errors.EngineFailed),
        (404, errors.EngineFailed),
        (405, errors.EngineFailed),
        (408, errors.ModelTimeout),
        (409, errors.ModelUnavailable),
        (418, errors.EngineFailed),
        (424, errors.EngineFailed),
        (429, errors.Overloaded),
        (500, errors.EngineFailed),
        (502, errors.ModelUnavailable),
        (503, errors.ModelUnavailable),
        (504, errors.ModelTimeout),
        (529, errors.ModelUnavailable),
        (599, errors.EngineFailed),
        (201, errors.EngineFailed),
        (307, errors.EngineFailed),
    ],
)
async def test_each_status_has_its_cause(
    fault: FaultServer,
    connect: Open,
    status: int,
    kind: type[errors.ZaffreError],
    stream: bool,
):
    for body in (HTML, b"", b"\xff", b"[]", b'"no"', b'{"error":null}', b'{"error":{"code":{}}}'):
        fault.will(whole(body, status, "text/html"))
        error = await refused(connect(), stream=stream)
        assert type(error) is kind
        assert error.message
        assert "<" not in error.message
        assert "internal" not in error.message


@pytest.mark.parametrize("status", [401, 403])
async def test_the_gateways_bad_credential_is_not_the_callers(
    fault: FaultServer, connect: Open, status: int
):
    fault.will(refusal(status, f"Incorrect API key provided: {SECRET[:6]}***", code="invalid_key"))
    error = await refused(connect())
    assert not isinstance(error, errors.Unauthenticated | errors.PermissionDenied)
    assert "credential" in error.message
    assert SECRET[:6] not in error.message


@pytest.mark.parametrize(
    "message",
    [
        f"Bad header: Bearer {SECRET}",
        f"Bad header {quote(SECRET, safe='')}",
        "<b>no</b>",
        "Look: <!DOCTYPE html>",
        "",
    ],
)
@pytest.mark.parametrize("status", [400, 422, 500])
async def test_a_message_with_a_secret_or_a_page_is_not_passed_on(
    fault: FaultServer, connect: Open, message: str, status: int
):
    fault.will(refusal(status, message))
    error = await refused(connect())
    assert str(status) in error.message
    assert SECRET not in error.message
    assert "<" not in error.message


@pytest.mark.parametrize(
    ("body", "kind", "message", "location"),
    [
        (
            {"error": {"message": "Too\nhot\x00!", "param": "temperature"}},
            errors.InvalidRequest,
            "Too hot !",
            ("temperature",),
        ),
        (
            {"error": {"message": "No ears.", "param": "messages[2].content[0]"}},
            errors.InvalidRequest,
            "No ears.",
            ("messages", 2, "content", 0),
        ),
        ({"error": "No."}, errors.InvalidRequest, "No.", ()),
        ({"error": ["Extra inputs."]}, errors.InvalidRequest, "Extra inputs.", ()),
        ({"object": "error", "message": "No.", "code": 400}, errors.InvalidRequest, "No.", ()),
        ({"detail": "Not so."}, errors.InvalidRequest, "Not so.", ()),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "Input should be int", "input": "x"}]},
            errors.InvalidRequest,
            "Input should be int",
            ("seed",),
        ),
        (
            {"error": {"message": '{"detail":[{"loc":["body","foo"],"msg":"Not permitted"}]}'}},
            errors.InvalidRequest,
            "Not permitted",
            (),
        ),
        ({"error": {"message": '{"x": 1}'}}, errors.InvalidRequest, None, ()),
        (
            {"error": {"message": "Too long.", "code": "context_length_exceeded"}},
            errors.PromptTooLong,
            "Too long.",
            (),
        ),
        (
            {"error": {"message": "Filtered.", "code": "content_filter", "param": "prompt"}},
            errors.ContentFiltered,
            "Filtered.",
            ("prompt",),
        ),
        (
            {"error": {"message": "No top_k.", "code": "unsupported_parameter", "param": "top_k"}},
            errors.UnsupportedParameter,
            "No top_k.",
            ("top_k",),
        ),
        (
            {"error": {"message": "Unknown model: x", "code": "unknown_model"}},
            errors.EngineFailed,
            "The server behind this model knows no such model or path.",
            (),
        ),
    ],
)
async def test_what_a_caller_can_mend_is_told(
    fault: FaultServer,
    connect: Open,
    body: Any,
    kind: type[errors.ZaffreError],
    message: str | None,
    location: errors.Location,
):
    fault.will(whole(body, 400))
    error = await refused(connect())
    assert type(error) is kind
    assert error.message == (message or "The model's server refused the request with status 400.")
    assert error.location == location


async def test_a_long_message_is_cut(fault: FaultServer, connect: Open):
    fault.will(refusal(400, "no " * 10_000))
    assert len((await refused(connect())).message) < 1100


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "0.2"}, 1),
        ({"Retry_After": "86400"}, 300),
        ({"Retry_After": "-1"}, None),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After_Ms": "1500"}, 2),
        ({"X_Ms_Retry_After_Ms": "900", "Retry_After": "9"}, 1),
        (
            {
                "Date": "Mon, 23 Nov 2026 10:00:00 GMT",
                "Retry_After": "Mon, 23 Nov 2026 10:00:30 GMT",
            },
            30,
        ),
        ({"Retry_After": "Mon, 23 Nov 2026 10:00:30 GMT"}, None),
    ],
    ids=str,
)
async def test_the_time_that_a_server_asks_for_is_kept(
    fault: FaultServer, connect: Open, status: int, headers: dict[str, str], seconds: int | None
):
    fault.will(refusal(status, **headers))
    assert (await refused(connect())).retry_after_s == seconds


async def test_an_error_as_an_event_is_understood(fault: FaultServer, connect: Open):
    """As vLLM tells of errors once it has begun to stream."""
    for item, kind in (
        ({"message": "Full.", "code": 429}, errors.Overloaded),
        ({"message": "No.", "code": "400"}, errors.InvalidRequest),
        ({"message": "Long.", "code": "context_length_exceeded"}, errors.PromptTooLong),
        ({"message": "Broke.", "code": None}, errors.EngineFailed),
        ("Broke.", errors.EngineFailed),
    ):
        fault.will(stream({"error": item}))
        assert type(await refused(connect())) is kind


class TestHabits:
    """What one refusal teaches is kept, when the call then goes through."""

    async def test_usage_in_streams_is_asked_for_until_it_is_refused(
        self, fault: FaultServer, connect: Open
    ):
        bare = stream(said("Hi"), said(None, "stop"))
        fault.will(refusal(422, "Extra inputs: stream_options"), bare, bare)
        client = connect()
        assert (await chat(client))[-1] == Usage(7, 1, estimated=True)
        await chat(client)
        asked = [request.json.get("stream_options") for request in fault.asked]
        assert asked == [{"include_usage": True}, None, None]

    async def test_max_tokens_has_a_newer_name(self, fault: FaultServer, connect: Open):
        teach = refusal(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use"
            " 'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )
        fault.will(teach, GOOD_STREAM, GOOD_ANSWER)
        client = connect()
        await chat(client, asking("hi", max_tokens=9))
        await chat(client, asking("hi", max_tokens=8), stream=False)
        asked = [
            (request.json.get("max_tokens"), request.json.get("max_completion_tokens"))
            for request in fault.asked
        ]
        assert asked == [(9, None), (None, 9), (None, 8)]

    async def test_vectors_come_as_numbers_where_base64_is_refused(
        self, fault: FaultServer, connect: Open
    ):
        vectors = whole(
            {"data": [{"index": 0, "embedding": [1.0, 0.5]}], "usage": COUNTED["usage"]}
        )
        fault.will(refusal(400, "encoding_format must be float"), vectors)
        client = connect()
        for _ in range(2):
            assert len((await client.embed(EmbedCall(("a",)))).vectors[0]) == 8
        asked = [request.json["encoding_format"] for request in fault.asked]
        assert asked == ["base64", "float", "float"]

    async def test_a_refusal_that_quotes_a_caller_teaches_nothing(
        self, fault: FaultServer, connect: Open
    ):
        quoting = refusal(400, "No tool is called 'stream_options'.")
        fault.will(quoting, quoting, GOOD_STREAM)
        client = connect()
        assert type(await refused(client)) is errors.InvalidRequest
        await chat(client)
        assert fault.asked[-1].json["stream_options"] == {"include_usage": True}
