"""Requests as the dialects see them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.core.accounts import Account
from zaffre.server.request import MAX_QUERY_FIELDS, Request, read_request


def read(path: str = "/info", query: bytes = b"", *headers: tuple[bytes, bytes]) -> Request:
    scope = {"method": "GET", "path": path, "query_string": query, "headers": headers}
    return read_request(scope, "an-id", Account(None, "an-id"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/info", "/info"),
        ("/info/", "/info"),
        ("/info//", "/info"),
        ("/", "/"),
        ("//", "/"),
        ("", "/"),
    ],
)
def test_a_trailing_slash_means_nothing(path: str, expected: str):
    assert read(path).path == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", None),
        (b"api-version", None),
        (b"api-version=", None),
        (b"api-version=a", "a"),
        (b"api-version=a&api-version=b", "a"),
        (b"api-version=&api-version=b", "b"),
        (b"x=1&api-version=a%20b%2B", "a b+"),
        (b"API-VERSION=a", None),
        (b"x=1;api-version=a", None),
        (b"api-version=\xff%ff", "ÿ\ufffd"),
        (b"&&&=&api-version=a", "a"),
    ],
)
def test_the_first_value_that_is_there_counts(query: bytes, expected: str | None):
    assert read(query=query).parameter("api-version") == expected


def test_what_comes_after_many_fields_is_not_read():
    early = b"&".join([b"x=1"] * (MAX_QUERY_FIELDS - 1) + [b"api-version=a"] + [b"y=1"] * 10_000)
    assert read(query=early).parameter("api-version") == "a"
    late = b"x=1&" * MAX_QUERY_FIELDS + b"api-version=a"
    assert read(query=late).parameter("api-version") is None


@given(st.binary(max_size=100), st.text(max_size=20))
def test_any_query_and_path_are_read(query: bytes, path: str):
    request = read(path, query)
    assert isinstance(request.query, dict)
    assert request.parameter("api-version") != ""


def test_headers_are_read_without_what_is_around_them():
    request = read("/", b"", (b"a", b"  x "), (b"a", b"second"), (b"b", b" "), (b"c", b"\xe9"))
    assert request.header(b"a") == "x"
    assert request.header(b"b") is None
    assert request.header(b"c") == "é"
    assert request.header(b"d") is None


@given(st.binary(max_size=300))
def test_no_clients_id_can_break_a_header(value: bytes):
    headers = dict(read("/", b"", (b"x-ms-client-request-id", value)).answer_headers())
    assert headers[b"x-request-id"] == headers[b"apim-request-id"] == b"an-id"
    echoed = headers.get(b"x-ms-client-request-id")
    if echoed is None:
        assert not re.fullmatch(rb"[!-~]{1,256}", value)
    else:
        assert echoed == value
        assert not set(echoed) & set(b"\r\n\x00 ")
