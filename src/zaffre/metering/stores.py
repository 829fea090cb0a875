"""Which ledger and which quota: a table of schemes, so that nobody loads what nobody asked for."""

from importlib import import_module
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import Ledger, Quota
from zaffre.metering.ledger import RETENTION_DAYS, SqliteLedger
from zaffre.metering.quota import MemoryQuota
from zaffre.metering.shared_quota import AccountStore, SharedQuota, StoreAway

POSTGRES_SCHEMES = ("postgresql", "postgres")
NO_LEDGER = "off"
"""Instead of a ledger's URL: nothing is kept of any request."""
_ACCOUNT_STORES = {
    "postgresql": "zaffre.metering.quota_postgres:PostgresAccounts",
    "postgres": "zaffre.metering.quota_postgres:PostgresAccounts",
    "redis": "zaffre.metering.quota_redis:RedisAccounts",
    "rediss": "zaffre.metering.quota_redis:RedisAccounts",
    "valkey": "zaffre.metering.quota_redis:RedisAccounts",
    "valkeys": "zaffre.metering.quota_redis:RedisAccounts",
    "unix": "zaffre.metering.quota_redis:RedisAccounts",
}
_EXTRAS = {"asyncpg": "postgres", "redis": "redis"}


def open_ledger(
    path: Path, url: str | None = None, *, retention_days: int | None = RETENTION_DAYS
) -> Ledger | None:
    """The ledger in the file `path`; with a Postgres `url`, that file is its outbox; None when
    `url` is `off`.

    Called inside the event loop that uses it. Raises `MeteringUnavailable` when the file cannot be
    opened, the scheme is unknown, or a package is missing; never because Postgres is away.
    """
    if url is None:
        return SqliteLedger(path, retention_days=retention_days)
    if url == NO_LEDGER:
        return None
    if urlsplit(url).scheme not in POSTGRES_SCHEMES:
        known = f"starts with {POSTGRES_SCHEMES[0]}:// or is '{NO_LEDGER}'"
        raise MeteringUnavailable(f"A ledger's URL {known}.")
    ledger = _load("zaffre.metering.postgres:PostgresLedger")
    return cast("Ledger", ledger(url, path, retention_days=retention_days))


def open_quota(url: str) -> Quota:
    """The quotas counted at `url`.

    `memory:` (gone with the process), `sqlite:PATH` (all processes of one machine, kept over
    restarts), `redis://`, `rediss://`, `valkey://`, `unix://` (a Redis's socket) or
    `postgresql://`. Called inside the event loop that uses it. Raises `MeteringUnavailable` when
    the file cannot be opened, the scheme is unknown, or a package is missing.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryQuota()
    if scheme == "sqlite":
        store = _load("zaffre.metering.quota_sqlite:SqliteAccounts")
        try:
            return SharedQuota(store(Path(url.removeprefix("sqlite:"))))
        except StoreAway as trouble:
            raise MeteringUnavailable(str(trouble)) from None
    if scheme not in _ACCOUNT_STORES:
        known = ", ".join(["memory", "sqlite", *sorted(_ACCOUNT_STORES)])
        raise MeteringUnavailable(f"Quotas cannot be counted at '{scheme}:'. Known: {known}.")
    return SharedQuota(cast("AccountStore", _load(_ACCOUNT_STORES[scheme])(url)))


def _load(address: str) -> type:
    module, _, name = address.partition(":")
    try:
        return cast("type", getattr(import_module(module), name))
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        extra = _EXTRAS.get(package, "server")
        raise MeteringUnavailable(
            f"This needs the package '{package}': pip install 'zaffre[{extra}]'."
        ) from None
