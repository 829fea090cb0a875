"""Keys: who is let in, and what is kept of a key."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.auth.keyfile import KEY_FILE, KeyFileError, load_or_make_key
from zaffre.auth.keys import MAX_KEY_CHARACTERS, HashedKey, KeyChain, Principal, hash_key, new_key
from zaffre.core.errors import Unauthenticated

KEY = "zaffre-key"
CHAIN = KeyChain([hash_key("first", KEY), hash_key("second", "other")])
API, BEARER = b"api-key", b"authorization"
Headers = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ([(API, b"zaffre-key")], "first"),
        ([(API, b"other")], "second"),
        ([(API, b" other ")], "second"),
        ([(BEARER, b"Bearer zaffre-key")], "first"),
        ([(BEARER, b"bearer   other")], "second"),
        ([(API, b"wrong"), (BEARER, b"Bearer other")], "second"),
        ([(BEARER, b"Bearer "), (API, b"other")], "second"),
        ([(BEARER, b"Basic x"), (BEARER, b"Bearer other")], "second"),
        ([(API, b"wrong"), (API, b"other")], "second"),
    ],
    ids=str,
)
def test_either_header_identifies(headers: Headers, owner: str):
    assert CHAIN.identify([(b"host", b"x"), *headers]) == Principal(owner)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(API, b"")],
        [(BEARER, b"Bearer ")],
        [(BEARER, b"Bearer")],
        [(BEARER, b"zaffre-key")],
        [(BEARER, b"Basic zaffre-key")],
        [(API, b"Bearer zaffre-key")],
        [(API, b"ZAFFRE-KEY")],
        [(API, b"zaffre-ke")],
        [(API, b"zaffre-key\x00")],
        [(API, b"\xff\xfe")],
        [(API, b"k" * 100_000)],
        [(b"x-api-key", b"zaffre-key")],
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_nothing_else_does(headers: Headers):
    with pytest.raises(Unauthenticated):
        CHAIN.identify(headers)


@given(st.binary(max_size=50))
def test_no_other_value_is_a_key(value: bytes):
    if value.decode("latin-1").strip() not in (KEY, "other"):
        for headers in ([(API, value)], [(BEARER, b"Bearer " + value)]):
            with pytest.raises(Unauthenticated):
                CHAIN.identify(headers)


def test_a_chain_without_keys_lets_nobody_in():
    with pytest.raises(Unauthenticated):
        KeyChain([]).identify([(API, b"")])


def test_keys_are_long_different_and_fit_into_a_header():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert len(key) > 40
        assert len(key) < MAX_KEY_CHARACTERS
        assert key.isascii()
        assert key.isprintable()


def test_what_is_kept_of_a_key_does_not_show_it():
    one, two = hash_key("a", KEY), hash_key("a", KEY)
    assert KEY not in repr(one)
    assert one.salt != two.salt
    assert one.digest != two.digest
    assert one.matches(KEY)
    assert not one.matches(KEY + " ")


def test_a_key_is_made_once_and_kept_as_a_hash(tmp_path: Path):
    home = tmp_path / "new" / "home"
    kept, shown = load_or_make_key(home)
    assert shown is not None
    assert kept.matches(shown)
    content = (home / KEY_FILE).read_text()
    assert shown not in content
    assert shown.removeprefix("zaffre-") not in content
    again, nothing = load_or_make_key(home)
    assert (again, nothing) == (kept, None)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_only_its_owner_can_read_the_file(tmp_path: Path):
    load_or_make_key(tmp_path)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]


def test_a_new_key_replaces_the_old_one(tmp_path: Path):
    old, first = load_or_make_key(tmp_path)
    new, second = load_or_make_key(tmp_path, renew=True)
    assert first
    assert second
    assert not new.matches(first)
    assert not old.matches(second)
    assert load_or_make_key(tmp_path) == (new, None)


def test_what_an_interrupted_start_left_is_no_trouble(tmp_path: Path):
    (tmp_path / KEY_FILE).with_suffix(".part").write_text("half")
    kept, shown = load_or_make_key(tmp_path)
    assert shown is not None
    assert kept.matches(shown)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"name":"a","salt":"00"}',
        b'{"name":"a","salt":"zz","digest":"00"}',
        b'{"name":"a","salt":"00000000000000000000000000000000","digest":"\xc3\xa9"}',
        b'{"name":"a","salt":5,"digest":"00"}',
    ],
)
def test_a_damaged_file_is_reported_with_the_way_out(tmp_path: Path, content: bytes):
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(KeyFileError, match="--new-key"):
        load_or_make_key(tmp_path)
    _, shown = load_or_make_key(tmp_path, renew=True)
    assert shown is not None


def test_a_home_that_cannot_be_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="file"):
        load_or_make_key(tmp_path / "file" / "home")


def test_a_hash_reads_like_one():
    kept = hash_key("a", KEY)
    assert isinstance(kept, HashedKey)
    assert len(bytes.fromhex(kept.salt)) == 16
    assert len(bytes.fromhex(kept.digest)) == 32
