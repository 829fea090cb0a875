"""Vectors and errors of other servers: read where they are sound, refused where they are not."""

import struct
from typing import Any

import pytest

from zaffre.core import errors
from zaffre.core.deltas import Embeddings, Usage
from zaffre.translation import answers
from zaffre.translation.errors import read_internal_error, write_internal_error
from zaffre.wire import codec
from zaffre.wire.embeddings import ENCODINGS, EmbeddingResponse

ONE, TWO = struct.pack("<2f", 0.6, 0.8), struct.pack("<2f", -1, 0)


def read(items: list[Any], expected: int) -> Embeddings:
    found = [{"index": i, "embedding": e, "object": "embedding"} for i, e in items]
    body = codec.encode({"data": found, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    return answers.read_embeddings(codec.decode(body, EmbeddingResponse), expected)


def test_vectors_are_put_into_the_order_of_their_inputs():
    assert read([(1, [-1, 0]), (0, "mpkZP83MTD8=")], 2) == Embeddings((ONE, TWO), Usage(3))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], 1),
        ([(0, [1.0])], 2),
        ([(0, [1.0]), (1, [1.0])], 1),
        ([(0, "not base64!")], 1),
        ([(0, "AAA=")], 1),
        ([(0, [1.0]), (1, [1.0, 2.0])], 2),
    ],
    ids=str,
)
def test_vectors_that_are_not_whole_are_the_engines_failure(items: list[Any], expected: int):
    with pytest.raises(errors.EngineFailed):
        read(items, expected)


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_our_vectors_come_back(encoding: str):
    assert encoding in ENCODINGS
    sent = Embeddings((ONE, TWO), Usage(7))
    body = codec.encode(answers.write_embeddings(sent, encoding))
    assert answers.read_embeddings(codec.decode(body, EmbeddingResponse), 2) == sent


CLIENT_ERRORS = [
    errors.InvalidRequest("No."),
    errors.InvalidParameter(("messages", 3, "content"), "x", "No."),
    errors.PromptTooLong(9000, 4096),
    errors.BodyTooLarge("Too large."),
    errors.UnsupportedParameter(("seed",), 5, "No."),
    errors.OutOfRange(("n",), 9, "Too many."),
    errors.OperationNotSupported("chat", "m", ["embed"]),
    errors.Overloaded("Full.", retry_after_s=7),
    errors.ModelUnavailable("Starting.", retry_after_s=5),
    errors.ModelTimeout("Slow."),
    errors.EngineFailed("Broke."),
]


@pytest.mark.parametrize("error", CLIENT_ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_class_across_the_workers_wire(error: errors.ZaffreError):
    status, body = write_internal_error(error)
    back = read_internal_error(status, codec.encode(body))
    assert type(back) is type(error)
    assert (back.message, back.location, back.value, back.retry_after_s) == (
        error.message,
        error.location,
        error.value,
        error.retry_after_s,
    )


@pytest.mark.parametrize(
    "error",
    [errors.NotFound("No."), errors.Unauthenticated(), errors.MethodNotAllowed("GET", ["POST"])],
    ids=lambda error: type(error).__name__,
)
def test_what_is_the_operators_trouble_is_not_told_as_the_clients(error: errors.ZaffreError):
    status, body = write_internal_error(error)
    assert type(read_internal_error(status, codec.encode(body))) is errors.EngineFailed


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (
            400,
            b'{"error":{"message":"bad","type":"x","param":"n","code":null}}',
            errors.InvalidRequest,
            "bad",
        ),
        (400, b'{"object":"error","message":"bad","code":400}', errors.InvalidRequest, None),
        (422, b'{"error":"bad"}', errors.UnsupportedParameter, "bad"),
        (429, b"", errors.Overloaded, None),
        (503, b"<html>", errors.ModelUnavailable, None),
        (504, b"{}", errors.ModelTimeout, None),
        (500, b'{"error":{"message":"oops","code":500}}', errors.EngineFailed, "oops"),
        (401, b'{"error":{"message":"key","code":"invalid_api_key"}}', errors.EngineFailed, "key"),
        (404, b'{"error":{"message":"gone"}}', errors.EngineFailed, "gone"),
        (302, b"", errors.EngineFailed, None),
        (200, b"\xff", errors.EngineFailed, None),
    ],
)
def test_a_foreign_servers_error_is_understood_by_its_status(
    status: int, content: bytes, kind: type[errors.ZaffreError], message: str | None
):
    error = read_internal_error(status, content)
    assert type(error) is kind
    assert error.message == (message or f"The model's server answered with status {status}.")
