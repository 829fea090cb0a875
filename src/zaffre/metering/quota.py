"""Quotas of one gateway process: counted in memory, gone with it."""

import time
from collections.abc import Callable, Sequence

from zaffre.core.metering import RateLimits, Scope
from zaffre.metering.accounts import Account, Book, Grant

SWEEP_AT = 10_000
"""Accounts in memory before those that say nothing any more are dropped."""


class MemoryQuota:
    """A `zaffre.core.metering.Quota` in memory. Used from one event loop; a call never waits."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._book = Book(self._accounts, {})
        self._sweep_at = SWEEP_AT

    async def reserve(self, scopes: Sequence[Scope], tokens: int) -> "MemoryReservation":
        """Take a request and `tokens` tokens from every scope, or from none; see `Quota`."""
        if len(self._accounts) >= self._sweep_at:
            self._sweep()
        return MemoryReservation(self, self._book.reserve(scopes, tokens, self._clock()))

    def settle(self, grant: Grant, tokens: int) -> None:
        """A request has ended and used `tokens`."""
        self._book.settle(grant, tokens, self._clock())

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _sweep(self) -> None:
        now, running = self._clock(), self._book.running
        for name, account in list(self._accounts.items()):
            if account.expires_s <= now and name not in running:
                del self._accounts[name]
        self._sweep_at = max(SWEEP_AT, 2 * len(self._accounts))


class MemoryReservation:
    """A request's share, counted in memory."""

    def __init__(self, quota: MemoryQuota, grant: Grant) -> None:
        self._quota, self._grant, self._open = quota, grant, True

    @property
    def rates(self) -> RateLimits:
        """What is left now that this request has its share."""
        return self._grant.rates

    async def settle(self, tokens: int) -> None:
        """The request has ended and used `tokens`; see `Reservation`."""
        if self._open:
            self._open = False
            self._quota.settle(self._grant, tokens)
