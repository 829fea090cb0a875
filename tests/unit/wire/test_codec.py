"""The codec: JSON in and out, and where in it the trouble is."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Point(Struct):
    """Something to decode."""

    x: int
    names: list[str] = []
    inner: "Point | None" = None
    weights: dict[str, float] = {}


@given(VALUES)
@settings(max_examples=40)
def test_values_come_back_as_they_went(value: Any):
    encoded = codec.encode(value)
    assert b"\n" not in encoded
    assert json.loads(encoded) == value
    assert codec.decode(encoded, object) == value


@pytest.mark.parametrize(
    ("content", "location", "value"),
    [
        (b'{"x":"a"}', ("x",), "a"),
        (b'{"x":1.5}', ("x",), 1.5),
        (b'{"x":null}', ("x",), None),
        (b'{"x":1,"names":{}}', ("names",), {}),
        (b'{"x":1,"names":["a",2]}', ("names", 1), 2),
        (b'{"x":1,"inner":{"x":1,"inner":{"x":[]}}}', ("inner", "inner", "x"), []),
        (b'{"x":1,"inner":{}}', ("inner",), {}),
        (b'{"x":1,"weights":{"a":1,"b":"c"}}', ("weights",), {"a": 1, "b": "c"}),
        (b"[]", (), None),
        (b'{"names":[]}', (), None),
    ],
)
def test_a_wrong_type_is_located(content: bytes, location: tuple[str | int, ...], value: object):
    with pytest.raises(codec.MalformedError) as caught:
        codec.decode(content, Point)
    assert caught.value.location == location
    assert caught.value.value == value
    assert caught.value.message.endswith(".")
    if location:
        assert f"'{'.'.join(map(str, location))}'" in caught.value.message


def test_a_value_of_a_large_body_is_not_read_again():
    large = json.dumps({"x": "a", "names": ["n" * codec.MAX_REREAD_BYTES]}).encode()
    with pytest.raises(codec.MalformedError) as caught:
        codec.decode(large, Point)
    assert caught.value.location == ("x",)
    assert caught.value.value is None


@pytest.mark.parametrize("rest", [b"", b"{", b'"\xff"', b"[" * 5000])
def test_more_trouble_after_the_first_changes_nothing(rest: bytes):
    with pytest.raises(codec.MalformedError) as caught:
        codec.decode(b'{"x":"a","names":' + rest, Point)
    assert caught.value.location == ("x",)
    assert caught.value.value is None


@given(st.binary())
def test_any_bytes_are_decoded_or_malformed(content: bytes):
    for kind in (dict, ChatRequest):
        with contextlib.suppress(codec.MalformedError):
            assert isinstance(codec.decode(content, kind), kind)


def test_root_keys_keep_their_order_and_their_text():
    root = codec.decode_root(b'{"b": 1.50, "a":null,"c": [1, {"d":"\\u00e9"}]}')
    assert {name: bytes(raw) for name, raw in root.items()} == {
        "b": b"1.50",
        "a": b"null",
        "c": b'[1, {"d":"\\u00e9"}]',
    }
    assert list(root) == ["b", "a", "c"]
    assert codec.decode_value(root["c"]) == [1, {"d": "é"}]


def test_what_is_nested_too_deeply_is_malformed_both_ways():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(codec.MalformedError, match="deeply"):
        codec.encode(deep)
    with pytest.raises(codec.MalformedError, match="deeply"):
        codec.decode(b"[" * 100_000, object)
    while deep:
        (deep,) = deep


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": 1, "other": 1}',
        b'{"x": "1"}',
        b"{}",
        b"[]",
        b"{",
        b'"\xff"',
        b"[" * 100_000,
    ],
)
def test_what_has_other_keys_or_is_no_such_struct_is_left_to_a_closer_look(body: bytes):
    assert codec.decode_closed(body, Point) is None


def test_what_has_a_structs_own_keys_alone_is_that_struct():
    found = codec.decode_closed(b'{"x": 1}', Point)
    assert isinstance(found, Point)
    assert found.x == 1
