"""Quotas that several gateway processes share, over any store that can change accounts at once.

A store that is there is changed on the spot. What waits while a store is asked goes there together
the next time, so the store's round trip bounds the wait of a request and not the number of requests
per second. What ended requests give back goes with the next request, or alone a moment later.
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
SETTLE_WITHIN_S = 0.01
"""How long the store may wait to hear of a request's end, when no other request comes."""

log = logging.getLogger("zaffre.metering")

Change = Callable[[dict[str, Account]], None]


class StoreAway(Exception):
    """The store cannot be reached, or refuses."""


class AccountStore(Protocol):
    """Keeps accounts by name, for several gateways. Asked for one change after another."""

    def change_now(self, names: Sequence[str], change: Change, now: float) -> bool:
        """The same as `change` where that takes less time than asking somebody to do it.

        False: nothing was done, because it could not be done without a wait. Raises `StoreAway`.
        """

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


class _Batch:
    """Some wishes on their way to the store, and what came of them."""

    def __init__(
        self, wishes: Sequence[_Wish], running: dict[str, int], gateway: str, now: float
    ) -> None:
        self.wishes, self.now = wishes, now
        self.names = sorted({*_names(wishes)})
        self.running = running
        self.outcomes: list[_Outcome] = []
        self._before, self._gateway = running, gateway

    def change(self, accounts: dict[str, Account]) -> None:
        """A `Change`: all wishes in order."""
        book = Book(accounts, dict(self._before), self._gateway)
        self.outcomes = [_grant(book, wish, self.now) for wish in self.wishes]
        self.running = book.running


class SharedQuota:
    """A `zaffre.core.metering.Quota` over `store`. Made inside the event loop that uses it."""

    def __init__(self, store: AccountStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._loop = asyncio.get_running_loop()
        self._gateway = uuid.uuid4().hex
        self._running: dict[str, int] = {}
        self._wishes: list[_Wish] = []
        self.problem = ""
        """Why requests with limits are refused at present; empty when all is well."""
        self._worker: asyncio.Task[None] | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._renewer = self._loop.create_task(self._renew())

    async def reserve(self, scopes: Sequence[Scope], tokens: int) -> "SharedReservation":
        """Take a request and `tokens` tokens from every scope, or from none; see `Quota`."""
        limited = [scope for scope in scopes if scope.limits != _UNLIMITED]
        if not limited:
            unlimited = Grant(limited, tokens, moment_of(self._clock()), RateLimits())
            return SharedReservation(self, unlimited)
        if len(self._wishes) >= MAX_WAITING:
            raise Overloaded("Too many requests wait for their quota.")
        waiter: asyncio.Future[Grant] = self._loop.create_future()
        self._ask(_Reserve(limited, tokens, waiter))
        try:
            return SharedReservation(self, await waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.settle(waiter.result(), 0)
            raise

    def settle(self, grant: Grant, tokens: int) -> None:
        """A request has ended and used `tokens`; the store hears of it in time."""
        if not grant.scopes:
            return
        self._wishes.append(_Settle(grant, tokens))
        if self._settling is None:
            self._settling = self._loop.call_later(SETTLE_WITHIN_S, self._start)

    async def aclose(self) -> None:
        """Tell the store what it has not heard, and let go of it."""
        self._renewer.cancel()
        self._start()
        if self._worker is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._worker, LAST_TRY_S)
        await self._store.aclose()

    def _ask(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        self._start()

    def _start(self) -> None:
        """See to it that all wishes are told to the store: now, or by a worker that can wait."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._worker is not None and not self._worker.done():
            return
        while self._wishes:
            batch = self._next_batch()
            try:
                changed = self._store.change_now(batch.names, batch.change, batch.now)
            except Exception as trouble:  # noqa: BLE001 - the fence: what is not told waits for ever
                self._fail(batch, trouble)
            else:
                if not changed:
                    self._wishes[:0] = batch.wishes
                    self._worker = self._loop.create_task(self._work())
                    return
                self._done(batch)

    async def _work(self) -> None:
        while self._wishes:
            batch = self._next_batch()
            try:
                await self._store.change(batch.names, batch.change, batch.now)
            except Exception as trouble:  # noqa: BLE001 - the fence: what is not told waits for ever
                self._fail(batch, trouble)
            else:
                self._done(batch)

    def _next_batch(self) -> _Batch:
        # What is given back can be taken at once.
        wishes = sorted(self._wishes[:MAX_TOGETHER], key=_takes)
        del self._wishes[:MAX_TOGETHER]
        return _Batch(wishes, self._running, self._gateway, self._clock())

    def _done(self, batch: _Batch) -> None:
        self.problem = ""
        self._running = batch.running
        for wish, outcome in zip(batch.wishes, batch.outcomes, strict=True):
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

    def _fail(self, batch: _Batch, trouble: Exception) -> None:
        problem = f"{type(trouble).__name__}: {trouble}"
        if not self.problem:
            log.error(
                "Requests with limits are refused; their account is out of reach: %s", problem
            )
        self.problem = problem
        for wish in batch.wishes:
            if isinstance(wish, _Reserve) and not wish.waiter.done():
                wish.waiter.set_exception(
                    MeteringUnavailable("The account of what you may use is out of reach.")
                )
            elif isinstance(wish, _Settle):
                # Tokens run out by themselves; the next word to the store has this count.
                Book({}, self._running).settle(wish.grant, wish.tokens, batch.now)

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


_UNLIMITED = Limits()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Account)


def _takes(wish: _Wish) -> bool:
    return isinstance(wish, _Reserve)


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
