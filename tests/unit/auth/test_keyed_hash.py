"""The keyed hash: the same bytes as the standard library's HMAC-SHA-256."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.auth.keyed_hash import KeyedHash


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_it_is_hmac_sha_256_for_every_text(key: bytes, texts: list[bytes]):
    keyed = KeyedHash(key)

    assert [keyed.digest(t) for t in texts] == [hmac.digest(key, t, "sha256") for t in texts]


@pytest.mark.parametrize("length", [0, 63, 64, 65])
def test_a_key_may_fill_its_block_or_not(length: int):
    key = bytes(range(1, length + 1))

    assert KeyedHash(key).digest(b"text") == hmac.digest(key, b"text", "sha256")
