"""The key book: all that is kept of keys, as values. Nothing here touches a file."""

import secrets
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from zaffre.core.calls import Operation
from zaffre.core.principals import Grant, Permission

FIRST_KEY = "default"
"""Name of the key that the first start makes."""
ALL = Grant(permissions=frozenset({"call", "admin", "read_usage"}))
"""Everything, without bounds: what the first key grants."""
MAX_KEYS = 10_000

Slot = Literal["primary", "secondary"]
SLOTS: tuple[Slot, Slot] = ("primary", "secondary")
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Salt = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class KeyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is kept of a key. Times are seconds since 1970, UTC."""

    id: str
    name: str
    """Unique; `ENDPOINT/primary` and `ENDPOINT/secondary` for an endpoint's two keys."""
    digest: Digest
    """HMAC-SHA-256 of the key, in hex."""
    salt: Salt | None = None
    """What the digest is keyed with, in hex; None: with the server's secret."""
    ending: str = ""
    """The key's last characters, for people with several."""
    grant: Grant
    endpoint: str | None = None
    """The endpoint whose key it is, in lower case; None for a key of the server."""
    slot: Slot | None = None
    created_at: int
    rotated_at: int | None = None
    expires_at: int | None = None


class KeyBook(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """All records. A field that this version does not know might restrict a key: a book with one
    is not read at all."""

    version: Literal[1] = 1
    secret: str = ""
    """Fingerprint of the secret that the digests are keyed with."""
    keys: Annotated[tuple[KeyRecord, ...], Meta(max_length=MAX_KEYS)] = ()
    generations: dict[str, str] = {}
    """Endpoint -> a random word that its tokens are bound to: another word ends them all."""


class KeyFacts(Struct, frozen=True, kw_only=True):
    """What may be told about a key. Times are seconds since 1970, UTC; None in a bound: none."""

    id: str
    name: str
    endpoint: str | None
    slot: Slot | None
    permissions: tuple[Permission, ...]
    endpoints: tuple[str, ...] | None
    models: tuple[str, ...] | None
    operations: tuple[Operation, ...] | None
    ending: str
    created_at: int
    rotated_at: int | None
    expires_at: int | None
    last_used_at: int | None
    """A minute or so behind. None: not known to have been used."""
    expired: bool


class NewKey(Struct, frozen=True):
    """A key that was made just now. Nobody can show it again."""

    key: str
    facts: KeyFacts

    def __repr__(self) -> str:
        """Without the key: this ends up in logs."""
        return f"NewKey({self.facts.name!r})"


def look_up(book: KeyBook, reference: str) -> KeyRecord | None:
    """The record with this id or, in any case, this name."""
    name = reference.lower()
    return next((r for r in book.keys if reference == r.id or name == r.name.lower()), None)


def with_record(book: KeyBook, record: KeyRecord) -> KeyBook:
    """`book` with `record`, in place of the one with its id if there is one."""
    if not any(known.id == record.id for known in book.keys):
        return structs.replace(book, keys=(*book.keys, record))
    keys = (record if known.id == record.id else known for known in book.keys)
    return structs.replace(book, keys=tuple(keys))


def without_record(book: KeyBook, record: KeyRecord) -> KeyBook:
    """`book` without the record of this id."""
    return structs.replace(book, keys=tuple(key for key in book.keys if key.id != record.id))


def endpoint_grant(endpoint: str) -> Grant:
    """What an endpoint's own keys and tokens grant: to call it, and nothing else."""
    return Grant(endpoints=frozenset({endpoint.lower()}))


def new_id() -> str:
    """An id for a record."""
    return f"key_{secrets.token_hex(6)}"


def facts_of(record: KeyRecord, last_used_at: int | None, now: float) -> KeyFacts:
    """What may be told about `record` at the time `now`."""
    grant = record.grant
    return KeyFacts(
        id=record.id,
        name=record.name,
        endpoint=record.endpoint,
        slot=record.slot,
        permissions=tuple(sorted(grant.permissions)),
        endpoints=None if grant.endpoints is None else tuple(sorted(grant.endpoints)),
        models=None if grant.models is None else tuple(sorted(grant.models)),
        operations=None if grant.operations is None else tuple(sorted(grant.operations)),
        ending=record.ending,
        created_at=record.created_at,
        rotated_at=record.rotated_at,
        expires_at=record.expires_at,
        last_used_at=last_used_at,
        expired=record.expires_at is not None and now >= record.expires_at,
    )
