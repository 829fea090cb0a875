"""The key store: who a key belongs to, here and in other processes, and what is kept."""

import hmac
import json
import os
import secrets
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec import structs

from zaffre.auth.keybook import ALL, FIRST_KEY
from zaffre.auth.keybookfile import BOOK_FILE, OLD_KEY_FILE
from zaffre.auth.keys import MAX_KEY_CHARACTERS
from zaffre.auth.keystore import ConfiguredKey, KeyStore
from zaffre.auth.secret import SECRET_FILE, KeyFileError
from zaffre.core.errors import Conflict, InvalidParameter, NotFound
from zaffre.core.principals import Grant
from zaffre.wire import codec

CALL = Grant()
DAY_S = 24 * 3600


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> KeyStore:
    return KeyStore(tmp_path, clock=clock)


def test_a_key_finds_its_owner_with_all_that_was_granted(store: KeyStore):
    grant = Grant(
        permissions=frozenset({"call", "read_usage"}),
        endpoints=frozenset({"shop"}),
        models=frozenset({"phi-3"}),
        operations=frozenset({"chat"}),
    )

    made = store.create("till", grant)
    found = store.find(made.key)

    assert found is not None
    assert (found.name, found.id) == ("till", made.facts.id)
    assert found.permissions == grant.permissions
    assert (found.endpoints, found.models) == (grant.endpoints, grant.models)
    assert found.operations == grant.operations
    assert found.credential == "server_key"


@pytest.mark.parametrize("change", ["", "x", "\0", " "])
def test_nothing_like_it_finds_anybody(store: KeyStore, change: str):
    key = store.create("a", CALL).key

    assert store.find(key[:-1] + change) is None
    assert store.find(key.lower() + change) is None
    assert store.find(change) is None
    assert store.find("k" * (MAX_KEY_CHARACTERS + 1)) is None


def test_no_file_shows_a_key(tmp_path: Path, store: KeyStore):
    key = store.create("a", CALL).key
    store.find(key)
    store.write_uses()

    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert key.encode() not in content
        assert key.removeprefix("zaffre-")[:12].encode() not in content
    assert key not in repr(store.rotate("a"))


def test_only_its_owner_can_read_the_files(tmp_path: Path):
    before = os.umask(0)
    try:
        KeyStore(tmp_path).create("a", CALL)
    finally:
        os.umask(before)
    for name in (BOOK_FILE, SECRET_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_rotating_ends_the_old_key_and_keeps_the_rest(store: KeyStore):
    grant = Grant(models=frozenset({"m"}))
    old = store.create("a", grant)

    new = store.rotate("A")

    assert store.find(old.key) is None
    found = store.find(new.key)
    assert found is not None
    assert (found.id, found.models) == (old.facts.id, grant.models)


def test_revoking_ends_a_key(store: KeyStore):
    made = store.create("a", CALL)

    assert store.revoke(made.facts.id).name == "a"

    assert store.find(made.key) is None
    assert store.listed() == []
    with pytest.raises(NotFound, match="keys list"):
        store.revoke("a")


def test_a_key_ends_when_its_time_is_over(store: KeyStore, clock: Clock):
    made = store.create("a", CALL, expires_at=int(clock.now) + DAY_S)
    clock.now += DAY_S - 1
    assert store.find(made.key) is not None

    clock.now += 1

    assert store.find(made.key) is None
    assert store.listed()[0].expired


def test_a_rotated_key_is_valid_for_as_long_as_it_was(store: KeyStore, clock: Clock):
    store.create("a", CALL, expires_at=int(clock.now) + DAY_S)
    clock.now += 10 * DAY_S

    facts = store.rotate("a").facts

    assert facts.expires_at == int(clock.now) + DAY_S
    assert not facts.expired


def test_an_endpoint_has_two_keys_that_rotate_one_at_a_time(store: KeyStore):
    primary, secondary = store.create_pair("Shop")
    found = store.find(primary.key)
    assert found is not None
    assert found.endpoints == {"shop"}
    assert found.permissions == {"call"}
    assert found.credential == "endpoint_key"

    another = store.rotate("SHOP/Primary")

    assert store.find(primary.key) is None
    assert store.find(secondary.key) is not None
    assert store.find(another.key) is not None
    assert [facts.slot for facts in store.endpoint_keys("shop")] == ["primary", "secondary"]


def test_an_endpoint_that_is_no_more_leaves_nothing(store: KeyStore):
    primary, _ = store.create_pair("shop")
    other, _ = store.create_pair("shop-2")
    token_key = store.make_token_key("shop")

    store.forget_endpoint("Shop")

    assert store.find(primary.key) is None
    assert store.find(other.key) is not None
    assert store.token_key("shop") is None
    assert store.make_token_key("shop") != token_key


def test_names_are_unique_and_harmless(store: KeyStore, clock: Clock):
    store.create("a", CALL)
    with pytest.raises(Conflict, match="rotate"):
        store.create("A", CALL)
    for name in ("", "-a", "a/primary", "../a", "a b", "x" * 65, "a\n"):
        with pytest.raises(InvalidParameter):
            store.create(name, CALL)
    with pytest.raises(InvalidParameter):
        store.create("b", CALL, expires_at=int(clock.now))
    for unknown in ("b", "shop/tertiary", "/primary", "primary"):
        with pytest.raises(NotFound):
            store.rotate(unknown)


def test_other_stores_see_a_change_at_the_next_key(tmp_path: Path, store: KeyStore):
    other = KeyStore(tmp_path)
    assert other.find("x") is None

    key = store.create("a", CALL).key
    assert other.find(key) is not None
    for _ in range(20):  # as fast as can be: no change is too quick to be seen
        new = other.rotate("a").key
        assert store.find(key) is None
        assert store.find(new) is not None
        key = new
    store.revoke("a")
    assert other.find(key) is None


def test_another_process_is_seen_too(tmp_path: Path, store: KeyStore):
    key = store.create("a", CALL).key
    program = "import sys, pathlib\nfrom zaffre.auth.keystore import KeyStore\n"
    program += "KeyStore(pathlib.Path(sys.argv[1])).revoke('a')"

    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)

    assert store.find(key) is None


def test_changes_at_the_same_time_all_count(tmp_path: Path):
    stores = [KeyStore(tmp_path) for _ in range(4)]

    def make(number: int) -> str:
        return stores[number % 4].create(f"key-{number}", CALL).key

    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(make, range(24)))

    for store in stores:
        assert all(store.find(key) for key in keys)
        assert len(store.listed()) == 24


def test_the_first_start_makes_a_key_and_later_ones_do_not(tmp_path: Path, store: KeyStore):
    first = store.make_first_key()

    assert first is not None
    found = store.find(first.key)
    assert found is not None
    assert found.permissions == ALL.permissions
    assert KeyStore(tmp_path).make_first_key() is None
    store.revoke(FIRST_KEY)
    assert KeyStore(tmp_path).make_first_key() is None  # whoever revoked it meant it


def test_a_new_first_key_replaces_the_old_one(store: KeyStore):
    first = store.make_first_key()
    other = store.create("other", CALL)

    second = store.make_first_key(renew=True)

    assert first is not None
    assert second is not None
    assert store.find(first.key) is None
    assert store.find(second.key) is not None
    assert store.find(other.key) is not None


def _keep_as_of_old(home: Path, key: str) -> None:
    """The file of a server that had one key."""
    salt = secrets.token_bytes(16)
    digest = hmac.new(salt, key.encode(), "sha256").hexdigest()
    kept = {"name": "default", "salt": salt.hex(), "digest": digest}
    (home / OLD_KEY_FILE).write_text(json.dumps(kept))


def test_the_key_of_an_older_server_goes_on_working(tmp_path: Path):
    key = "zaffre-" + "k" * 43
    _keep_as_of_old(tmp_path, key)

    store = KeyStore(tmp_path)

    found = store.find(key)
    assert found is not None
    assert (found.name, found.permissions) == ("default", ALL.permissions)
    assert not (tmp_path / OLD_KEY_FILE).exists()
    assert store.make_first_key() is None
    assert KeyStore(tmp_path).find(key) == found
    assert store.find(key + "x") is None
    new = store.make_first_key(renew=True)
    assert new is not None
    assert store.find(key) is None
    assert store.find(new.key) is not None


def test_the_form_on_disk_stays_as_it_is(tmp_path: Path):
    """Given files as every version so far wrote them, then their keys are known."""
    secret, key = bytes(range(32)), "zaffre-" + "k" * 49
    pepper, mark = (hmac.digest(secret, word, "sha256") for word in (b"key digest", b"fingerprint"))
    record = {
        "id": "key_0",
        "name": "a",
        "digest": hmac.digest(pepper, key.encode(), "sha256").hex(),
        "grant": {},
        "created_at": 1,
    }
    (tmp_path / SECRET_FILE).write_bytes(secret)
    (tmp_path / BOOK_FILE).write_text(json.dumps({"secret": mark.hex()[:16], "keys": [record]}))

    store = KeyStore(tmp_path)

    found = store.find(key)
    assert found is not None
    assert found.id == "key_0"
    assert store.find(key + "k") is None
    store.rotate("a")
    assert json.loads((tmp_path / BOOK_FILE).read_text())["keys"][0]["digest"] != record["digest"]
    assert store.find(key) is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'{"name":"a","salt":"zz","digest":"00"}']
)
def test_a_damaged_file_of_old_is_reported_with_the_way_out(tmp_path: Path, content: bytes):
    (tmp_path / OLD_KEY_FILE).write_bytes(content)
    with pytest.raises(KeyFileError, match="Delete it"):
        KeyStore(tmp_path)
    (tmp_path / OLD_KEY_FILE).unlink()
    assert KeyStore(tmp_path).make_first_key() is not None


def test_an_old_key_that_comes_back_takes_no_ones_place(tmp_path: Path, store: KeyStore):
    first = store.make_first_key()
    _keep_as_of_old(tmp_path, "older")

    again = KeyStore(tmp_path)

    assert first is not None
    assert again.find(first.key) is not None
    assert again.find("older") is not None
    assert len({facts.name for facts in again.listed()}) == 2


def test_a_key_of_the_configuration_replaces_the_one_of_its_name(tmp_path: Path, store: KeyStore):
    first, other = store.make_first_key(), store.create("other", CALL)
    given = ConfiguredKey(FIRST_KEY, "given")

    configured = KeyStore(tmp_path, configured=[given])

    assert first is not None
    assert configured.find(first.key) is None
    assert configured.find(other.key) is not None
    found = configured.find("given")
    assert found is not None
    assert found.permissions == ALL.permissions
    assert store.find("given") is None
    assert "given" not in repr(ConfiguredKey("a", "given"))
    configured.rotate("other")
    assert configured.find("given") is not None


def test_a_key_of_the_configuration_needs_no_files(tmp_path: Path):
    store = KeyStore(tmp_path / "nowhere", configured=[ConfiguredKey(FIRST_KEY, "given")])

    assert store.find("given") is not None
    store.write_uses()
    assert not (tmp_path / "nowhere").exists()


def test_uses_are_kept_across_processes(tmp_path: Path, store: KeyStore, clock: Clock):
    one, two = store.create("one", CALL), store.create("two", CALL)
    other = KeyStore(tmp_path, clock=clock)
    store.find(one.key)
    clock.now += 60
    other.find(one.key)
    other.find(two.key)

    store.write_uses()
    other.write_uses()

    used = {facts.name: facts.last_used_at for facts in KeyStore(tmp_path, clock=clock).listed()}
    assert used == {"one": int(clock.now), "two": int(clock.now)}
    (tmp_path / "keys-used.json").write_text("half")
    assert [facts.last_used_at for facts in KeyStore(tmp_path).listed()] == [None, None]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"version":2,"keys":[]}',
        b'{"version":1,"keys":[],"a_bound_of_tomorrow":5}',
        b'{"version":1,"keys":[{"id":"a","name":"a","digest":"zz","grant":{},"created_at":1}]}',
    ],
)
def test_a_damaged_book_stops_a_start_and_not_a_server(
    tmp_path: Path, store: KeyStore, content: bytes, caplog: pytest.LogCaptureFixture
):
    key = store.create("a", CALL).key
    good = (tmp_path / BOOK_FILE).read_bytes()
    (tmp_path / BOOK_FILE).write_bytes(content)

    with pytest.raises(KeyFileError, match="keys create"):
        KeyStore(tmp_path)
    with pytest.raises(KeyFileError):
        store.create("b", CALL)
    assert store.find(key) is not None
    assert store.find(key) is not None
    assert caplog.text.count("Keys stay as they were") == 1
    (tmp_path / BOOK_FILE).write_bytes(good.replace(b'"a"', b'"z"'))
    found = store.find(key)
    assert found is not None
    assert found.name == "z"


def test_a_book_that_is_deleted_lets_nobody_in(tmp_path: Path, store: KeyStore):
    key = store.create("a", CALL).key

    (tmp_path / BOOK_FILE).unlink()

    assert store.find(key) is None


@pytest.mark.parametrize("content", [None, b"", b"x" * 32])
def test_a_secret_that_is_not_the_books_is_reported(
    tmp_path: Path, store: KeyStore, content: bytes | None
):
    store.create("a", CALL)
    if content is None:
        (tmp_path / SECRET_FILE).unlink()
    else:
        (tmp_path / SECRET_FILE).write_bytes(content)

    with pytest.raises(KeyFileError, match="secret"):
        KeyStore(tmp_path)


def test_what_a_crash_left_behind_is_no_trouble(tmp_path: Path, store: KeyStore):
    (tmp_path / f"{BOOK_FILE}.part").write_text("half")

    made = store.create("a", CALL)

    assert store.find(made.key) is not None


def test_a_home_that_cannot_be_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="file"):
        KeyStore(tmp_path / "file" / "home").create("a", CALL)


def test_facts_have_no_digest(store: KeyStore):
    facts = store.create("a", CALL).facts

    assert not {"digest", "salt", "key"} & set(structs.asdict(facts))
    assert len(facts.ending) == 4
    assert json.loads(codec.encode(facts))["permissions"] == ["call"]
