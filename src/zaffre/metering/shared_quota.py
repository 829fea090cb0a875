"""Quotas that several gateway processes share, over any store that can change accounts at once.

What waits while the store is asked goes there together the next time, so the store's round trip
bounds the wait of a request and not the number of requests per second.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Struct

from zaffre.core.errors import MeteringUnavailable, Overloaded, ZaffreError
from zaffre.core.metering import RateLimits, Scope
from zaffre.core.plan import Limits
from zaffre.metering.accounts import LEASE_S, Account, Book, Grant, moment_of

MAX_WAITING = 10_000
"""Requests that may wait for the store; one more is refused."""
MAX_TOGETHER = 256
"""Requests in one round trip."""
LAST_TRY_S = 5.0
"""How long the end of the server waits for the store."""

log = logging.getLogger("zaffre.metering")

Change = Callable[[dict[str, Account]], None]


class StoreAway(Exception):
    """The store cannot be reached, or refuses."""


class AccountStore(Protocol):
    """Keeps accounts by name, for several gateways."""

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        """Load the accounts `names`, let `change` change them or add missing ones, and store them.

        Nobody else changes them in between. `change` may be called again with fresh accounts, and
        in another thread. Accounts that expired before `now` may be dropped. Raises `StoreAway`.
        """

    async def aclose(self) -> None:
        """Let go of connections."""


class _Reserve(Struct, eq=False):
    scopes: Sequence[Scope]
    tokens: int
    waiter: asyncio.Future[Grant]


class _Settle(Struct, eq=False):
    grant: Grant
    tokens: int


class _Renew(Struct, eq=False):
    names: Sequence[str]


_Wish = _Reserve | _Settle | _Renew
_Outcome = Grant | ZaffreError | None


class SharedQuota:
    """A `zaffre.core.metering.Quota` over `store`. Made inside the event loop that uses it."""

    def __init__(self, store: AccountStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._gateway = uuid.uuid4().hex
        self._running: dict[str, int] = {}
        self._wishes: list[_Wish] = []
        self.problem = ""
        """Why requests with limits are refused at present; empty when all is well."""
        self._worker: asyncio.Task[None] | None = None
        self._renewer = asyncio.get_running_loop().create_task(self._renew())

    async def reserve(self, scopes: Sequence[Scope], tokens: int) -> "SharedReservation":
        """Take a request and `tokens` tokens from every scope, or from none; see `Quota`."""
        limited = [scope for scope in scopes if scope.limits != Limits()]
        if not limited:
            unlimited = Grant(limited, tokens, moment_of(self._clock()), RateLimits())
            return SharedReservation(self, unlimited)
        if len(self._wishes) >= MAX_WAITING:
            raise Overloaded("Too many requests wait for their quota.")
        waiter: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._ask(_Reserve(limited, tokens, waiter))
        try:
            return SharedReservation(self, await waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.settle(waiter.result(), 0)
            raise

    def settle(self, grant: Grant, tokens: int) -> None:
        """A request has ended and used `tokens`; the store hears of it in time."""
        if grant.scopes:
            self._ask(_Settle(grant, tokens))

    async def aclose(self) -> None:
        """Tell the store what it has not heard, and let go of it."""
        self._renewer.cancel()
        if self._worker is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._worker, LAST_TRY_S)
        await self._store.aclose()

    def _ask(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._wishes:
            wishes = self._wishes[:MAX_TOGETHER]
            del self._wishes[:MAX_TOGETHER]
            try:
                await self._do(wishes)
            except Exception as trouble:  # noqa: BLE001 - the fence: what is not told waits for ever
                self._fail(wishes, f"{type(trouble).__name__}: {trouble}")
            else:
                self.problem = ""

    async def _do(self, wishes: list[_Wish]) -> None:
        now = self._clock()
        books: list[Book] = []
        outcomes: list[_Outcome] = []

        def change(accounts: dict[str, Account]) -> None:
            book = Book(accounts, dict(self._running), self._gateway)
            outcomes[:] = [_grant(book, wish, now) for wish in wishes]
            books.append(book)

        await self._store.change(sorted({*_names(wishes)}), change, now)
        self._running = books[-1].running
        for wish, outcome in zip(wishes, outcomes, strict=True):
            if isinstance(wish, _Reserve):
                self._tell(wish, outcome)

    def _tell(self, wish: _Reserve, outcome: _Outcome) -> None:
        if isinstance(outcome, Grant):
            if wish.waiter.cancelled():  # its client has gone meanwhile
                self.settle(outcome, 0)
            else:
                wish.waiter.set_result(outcome)
        elif outcome is not None and not wish.waiter.done():
            wish.waiter.set_exception(outcome)

    def _fail(self, wishes: list[_Wish], problem: str) -> None:
        if not self.problem:
            log.error(
                "Requests with limits are refused; their account is out of reach: %s", problem
            )
        self.problem = problem
        for wish in wishes:
            if isinstance(wish, _Reserve) and not wish.waiter.done():
                wish.waiter.set_exception(
                    MeteringUnavailable("The account of what you may use is out of reach.")
                )
            elif isinstance(wish, _Settle):
                # Tokens run out by themselves; the next word to the store has this count.
                Book({}, self._running).settle(wish.grant, wish.tokens, self._clock())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            if self._running:
                self._ask(_Renew(list(self._running)))


class SharedReservation:
    """A request's share, counted in a store."""

    def __init__(self, quota: SharedQuota, grant: Grant) -> None:
        self._quota, self._grant, self._open = quota, grant, True

    @property
    def rates(self) -> RateLimits:
        """What is left now that this request has its share."""
        return self._grant.rates

    async def settle(self, tokens: int) -> None:
        """The request has ended and used `tokens`; see `Reservation`. Does not wait for that."""
        if self._open:
            self._open = False
            self._quota.settle(self._grant, tokens)


def encode_account(account: Account) -> bytes:
    """`account` as stores keep it."""
    return _encoder.encode(account)


def decode_account(content: bytes) -> Account:
    """What `encode_account` made."""
    return _decoder.decode(content)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Account)


def _names(wishes: Iterable[_Wish]) -> Iterable[str]:
    for wish in wishes:
        match wish:
            case _Reserve(scopes=scopes):
                yield from (scope.account for scope in scopes)
            case _Settle(grant=grant):
                yield from (scope.account for scope in grant.scopes)
            case _Renew(names=names):
                yield from names


def _grant(book: Book, wish: _Wish, now: float) -> _Outcome:
    match wish:
        case _Reserve(scopes=scopes, tokens=tokens):
            try:
                return book.reserve(scopes, tokens, now)
            except ZaffreError as refusal:
                return refusal
        case _Settle(grant=grant, tokens=tokens):
            book.settle(grant, tokens, now)
        case _Renew(names=names):
            book.renew(names, now)
    return None
