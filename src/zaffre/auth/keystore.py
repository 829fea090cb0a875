"""The key store: whose key it is, at once; and making, rotating and revoking keys."""

import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct, structs

from zaffre.auth.keybook import (
    ALL,
    FIRST_KEY,
    SLOTS,
    KeyBook,
    KeyFacts,
    KeyRecord,
    NewKey,
    endpoint_grant,
    facts_of,
    look_up,
    new_id,
    with_record,
    without_record,
)
from zaffre.auth.keybookfile import KeyBookFile, Stamp
from zaffre.auth.keyed_hash import KeyedHash
from zaffre.auth.keys import MAX_KEY_CHARACTERS, new_key
from zaffre.auth.secret import KeyFileError, ServerSecret, load_or_make_secret, passing_secret
from zaffre.config.auth_section import NAME
from zaffre.core.errors import Conflict, InvalidParameter, NotFound
from zaffre.core.principals import Credential, Grant, Principal

ENDING_CHARACTERS = 4
"""Of a key's checksum, shown in lists."""
log = logging.getLogger("zaffre.auth")


class ConfiguredKey(Struct, frozen=True):
    """A key that the configuration gives. It lives in memory only."""

    name: str
    key: str
    grant: Grant = ALL

    def __repr__(self) -> str:
        """Without the key: this ends up in logs."""
        return f"ConfiguredKey({self.name!r})"


class _MadeBefore(Exception):
    pass


class _Entry(Struct, frozen=True):
    digest: bytes
    principal: Principal
    expires_at: int | None


class _Index(Struct, frozen=True):
    """All that finding a key needs; swapped whole."""

    book: KeyBook
    secret: ServerSecret
    pepper: KeyedHash
    entries: dict[bytes, _Entry]
    """By digest."""
    salted: tuple[tuple[KeyedHash, _Entry], ...]
    """Keys older than the server's secret, with their salts: there is hardly more than one."""


class KeyStore:
    """The keys of the server whose files are in `home`.

    `configured` keys come from the configuration; one with the first key's name replaces it.
    `find` compares the file's stamp each time, 2 µs, so that a key that any process revokes is
    revoked in all of them. Everything else uses files for milliseconds: call it in a thread where a
    loop must not wait. Opening and changing raise `KeyFileError` for files that cannot be used.
    """

    def __init__(
        self,
        home: Path,
        *,
        configured: Sequence[ConfiguredKey] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = KeyBookFile(home)
        self._configured = tuple(configured)
        self._clock = clock
        self._uses: dict[str, int] = {}
        self._loading = threading.Lock()
        self._stamp: Stamp | None = None
        self._complaint = ""
        self._file.adopt_old_key()
        self._load()

    def find(self, text: str) -> Principal | None:
        """Whose key `text` is; None when it is no valid key. Never raises."""
        if not text or len(text) > MAX_KEY_CHARACTERS:
            return None
        entry = _match(self._current(), text.encode())
        if entry is None:
            return None
        now = int(self._clock())
        if entry.expires_at is not None and now >= entry.expires_at:
            return None
        self._uses[entry.principal.id] = now
        return entry.principal

    def reload(self) -> None:
        """Read the files again, changed or not. Raises `KeyFileError`; then all stays as it was."""
        self._load()

    def close(self) -> None:
        """Let go of the files. What was read stays in use; `write_uses` comes before."""
        self._file.close()

    def listed(self) -> list[KeyFacts]:
        """All keys that the files hold, by name."""
        uses, now = self._all_uses(), self._clock()
        records = sorted(self._current().book.keys, key=lambda record: record.name)
        return [facts_of(record, uses.get(record.id), now) for record in records]

    def endpoint_keys(self, endpoint: str) -> list[KeyFacts]:
        """The two keys of an endpoint, primary first; fewer when some were revoked."""
        return [facts for facts in self.listed() if facts.endpoint == endpoint.lower()]

    def make_first_key(self, *, renew: bool = False) -> NewKey | None:
        """The key that a first start shows; None where there were keys before.

        `renew` makes another in place of the one of that name.
        """

        def first(book: KeyBook) -> KeyRecord:
            if not renew and self._file.exists():
                raise _MadeBefore
            known = look_up(book, FIRST_KEY)
            return self._record(FIRST_KEY, ALL) if known is None else self._renewed(known)

        try:
            return None if self._file.exists() and not renew else self._put_new(first)
        except _MadeBefore:  # another process was faster
            return None

    def create(self, name: str, grant: Grant, *, expires_at: int | None = None) -> NewKey:
        """A new key of the server, valid until `expires_at` (seconds since 1970) or for ever.

        Raises `InvalidParameter` for a name or time that cannot be, `Conflict` for a name in use.
        """
        if not NAME.fullmatch(name):
            raise InvalidParameter(
                ("name",), name, "A key's name has up to 64 letters, digits, '.', '_' and '-'."
            )
        if expires_at is not None and expires_at <= self._clock():
            raise InvalidParameter(("expires_at",), expires_at, "That time is over.")

        def fresh(book: KeyBook) -> KeyRecord:
            if look_up(book, name) is not None:
                raise Conflict(f"There is a key '{name}' already: rotate it, or revoke it first.")
            return self._record(name, grant, expires_at=expires_at)

        return self._put_new(fresh)

    def create_pair(self, endpoint: str) -> tuple[NewKey, NewKey]:
        """The primary and the secondary key of an endpoint; those that it had end."""
        primary, secondary = (self.rotate(f"{endpoint}/{slot}") for slot in SLOTS)
        return primary, secondary

    def rotate(self, reference: str) -> NewKey:
        """Another key in place of the one with this name or id, which ends at once.

        Name, id and bounds stay; a key that was valid for 90 days is valid for 90 more from now.
        `ENDPOINT/primary` and `ENDPOINT/secondary` are made where they are missing. Raises
        `NotFound`.
        """

        def rotated(book: KeyBook) -> KeyRecord:
            known = look_up(book, reference)
            if known is not None:
                return self._renewed(known)
            endpoint, _, word = reference.lower().rpartition("/")
            slot = next((s for s in SLOTS if s == word), None)
            if not endpoint or slot is None:
                raise _unknown(reference)
            record = self._record(f"{endpoint}/{slot}", endpoint_grant(endpoint))
            return structs.replace(record, endpoint=endpoint, slot=slot)

        return self._put_new(rotated)

    def revoke(self, reference: str) -> KeyFacts:
        """End the key with this name or id, everywhere and at once. Raises `NotFound`."""
        revoked: list[KeyRecord] = []

        def without(book: KeyBook) -> KeyBook:
            known = look_up(book, reference)
            if known is None:
                raise _unknown(reference)
            revoked.append(known)
            return without_record(book, known)

        self._change(without)
        return facts_of(revoked[0], self._all_uses().get(revoked[0].id), self._clock())

    def token_key(self, endpoint: str) -> bytes | None:
        """What the tokens of `endpoint` are signed with; None when it has had none."""
        index = self._current()
        generation = index.book.generations.get(endpoint.lower())
        if generation is None:
            return None
        return index.secret.derive("endpoint token", endpoint.lower(), generation)

    def make_token_key(self, endpoint: str) -> bytes:
        """As `token_key`, made where there is none yet."""

        def begun(book: KeyBook) -> KeyBook:
            generations = {endpoint.lower(): secrets.token_hex(16), **book.generations}
            return structs.replace(book, generations=generations)

        if self.token_key(endpoint) is None:
            self._change(begun)
        key = self.token_key(endpoint)
        if key is None:
            raise KeyFileError(f"{self._file.path}: somebody else changed it at the same time.")
        return key

    def end_tokens(self, endpoint: str) -> None:
        """End all tokens that were issued for `endpoint`."""
        self._change(lambda book: _without_tokens(book, endpoint))

    def forget_endpoint(self, endpoint: str) -> None:
        """End all keys and tokens of `endpoint`: another of its name starts without any."""

        def forgotten(book: KeyBook) -> KeyBook:
            keys = tuple(key for key in book.keys if key.endpoint != endpoint.lower())
            return structs.replace(_without_tokens(book, endpoint), keys=keys)

        if self._current().book != KeyBook():
            self._change(forgotten)

    def write_uses(self) -> None:
        """Keep when keys were last used. Call it now and then."""
        if not self._uses or not self._file.exists():
            return
        with self._file.locked():
            known = {record.id for record in self._current().book.keys}
            uses = {key: used for key, used in self._all_uses().items() if key in known}
            self._file.write_uses(uses)

    def _all_uses(self) -> dict[str, int]:
        kept, here = self._file.read_uses(), dict(self._uses)
        return {key: max(kept.get(key, 0), here.get(key, 0)) for key in {*kept, *here}}

    def _current(self) -> _Index:
        try:
            stamp = self._file.stamp()
            if stamp != self._stamp:
                self._stamp = stamp  # one attempt for each state of the file
                self._load()
                self._complaint = ""
        except KeyFileError as error:
            # A slip of somebody's editor is no reason to lock everybody out.
            if error.message != self._complaint:
                log.error("Keys stay as they were: %s", error.message)
            self._complaint = error.message
        return self._index

    def _load(self) -> None:
        with self._loading:
            book, self._stamp = self._file.read()
            secret = self._file.secret_of(book) or passing_secret()
            self._index = _make_index(book, secret, self._configured)

    def _put_new(self, make_record: Callable[[KeyBook], KeyRecord]) -> NewKey:
        key = new_key()
        records: list[KeyRecord] = []

        def put(book: KeyBook, secret: ServerSecret) -> KeyBook:
            made = structs.replace(
                make_record(book),
                digest=_pepper(secret).digest(key.encode()).hex(),
                salt=None,
                ending=key[-ENDING_CHARACTERS:],
            )
            records.append(made)
            return with_record(book, made)

        self._change_keyed(put)
        return NewKey(key, facts_of(records[0], None, self._clock()))

    def _change(self, edit: Callable[[KeyBook], KeyBook]) -> None:
        self._change_keyed(lambda book, _secret: edit(book))

    def _change_keyed(self, edit: Callable[[KeyBook, ServerSecret], KeyBook]) -> None:
        with self._file.locked():
            with self._loading:
                book, _ = self._file.read()
                secret = self._file.secret_of(book) or load_or_make_secret(self._file.home)
            changed = edit(structs.replace(book, secret=secret.fingerprint), secret)
            self._file.write(changed)
        self.reload()

    def _record(self, name: str, grant: Grant, *, expires_at: int | None = None) -> KeyRecord:
        return KeyRecord(
            id=new_id(),
            name=name,
            digest="",
            grant=grant,
            created_at=int(self._clock()),
            expires_at=expires_at,
        )

    def _renewed(self, known: KeyRecord) -> KeyRecord:
        now, expires_at = int(self._clock()), known.expires_at
        if expires_at is not None:
            expires_at += now - (known.rotated_at or known.created_at)
        return structs.replace(known, rotated_at=now, expires_at=expires_at)


def _make_index(book: KeyBook, secret: ServerSecret, configured: Sequence[ConfiguredKey]) -> _Index:
    pepper = _pepper(secret)
    replaced = {key.name.lower() for key in configured}
    entries: dict[bytes, _Entry] = {}
    salted: list[tuple[KeyedHash, _Entry]] = []
    for record in book.keys:
        if record.name.lower() in replaced:
            continue
        credential: Credential = "server_key" if record.endpoint is None else "endpoint_key"
        principal = _principal(record.name, record.id, record.grant, credential)
        entry = _Entry(bytes.fromhex(record.digest), principal, record.expires_at)
        if record.salt is None:
            entries[entry.digest] = entry
        else:
            salted.append((KeyedHash(bytes.fromhex(record.salt)), entry))
    for key in configured:
        digest = pepper.digest(key.key.encode())
        principal = _principal(key.name, f"configured:{key.name}", key.grant, "server_key")
        entries[digest] = _Entry(digest, principal, None)
    return _Index(book, secret, pepper, entries, tuple(salted))


def _principal(name: str, key_id: str, grant: Grant, credential: Credential) -> Principal:
    return Principal(
        name=name,
        id=key_id,
        permissions=grant.permissions,
        endpoints=grant.endpoints,
        models=grant.models,
        operations=grant.operations,
        credential=credential,
        limits=grant.limits,
    )


def _match(index: _Index, shown: bytes) -> _Entry | None:
    digest = index.pepper.digest(shown)
    found = index.entries.get(digest)
    # What the dictionary's comparison tells by its time is about digests that nobody can choose.
    if found is not None and hmac.compare_digest(found.digest, digest):
        return found
    for salt, entry in index.salted:
        if hmac.compare_digest(salt.digest(shown), entry.digest):
            return entry
    return None


def _pepper(secret: ServerSecret) -> KeyedHash:
    # A fast hash is enough: there is nothing to guess in 256 random bits.
    return KeyedHash(secret.derive("key digest"))


def _without_tokens(book: KeyBook, endpoint: str) -> KeyBook:
    generations = {e: g for e, g in book.generations.items() if e != endpoint.lower()}
    return structs.replace(book, generations=generations)


def _unknown(reference: str) -> NotFound:
    return NotFound(f"There is no key '{reference}'; 'zaffre keys list' shows them all.")
