"""Shared quotas over a store that does what a test says: when it is asked, and for what."""

import asyncio
from collections.abc import Sequence

import pytest

from zaffre.core.errors import MeteringUnavailable
from zaffre.core.metering import Scope
from zaffre.core.plan import Limits
from zaffre.metering.accounts import Account
from zaffre.metering.shared_quota import Change, SharedQuota, StoreAway

NOW = 1_790_000_000.0
ONE_PLACE = [Scope("key", "k", Limits(concurrent_requests=1))]
TOKENS = [Scope("key", "t", Limits(tokens_per_minute=100))]


class ScriptedStore:
    """Accounts in memory. `ready`: whether it can be changed now; else it waits for `gate`."""

    def __init__(self) -> None:
        self.ready = True
        self.gate = asyncio.Event()
        self.away: StoreAway | None = None
        self.accounts: dict[str, Account] = {}
        self.changes = 0
        self.changed = asyncio.Event()

    def change_now(self, names: Sequence[str], change: Change, now: float) -> bool:
        if self.ready:
            self._change(change)
        return self.ready

    async def change(self, names: Sequence[str], change: Change, now: float) -> None:
        await self.gate.wait()
        self._change(change)

    async def aclose(self) -> None:
        pass

    def _change(self, change: Change) -> None:
        if self.away is not None:
            raise self.away
        change(self.accounts)
        self.changes += 1
        self.changed.set()


@pytest.fixture
def store():
    return ScriptedStore()


@pytest.fixture
async def quota(store):
    opened = SharedQuota(store, clock=lambda: NOW)
    yield opened
    store.gate.set()
    await opened.aclose()


async def test_what_one_gives_back_goes_with_the_next(quota, store):
    """Given a request that has ended, when the next comes, then one change is made for both."""
    await (await quota.reserve(ONE_PLACE, 0)).settle(0)
    await quota.reserve(ONE_PLACE, 0)
    assert store.changes == 2


async def test_what_the_last_one_gives_back_is_told(quota, store):
    """Given a request that has ended, when no other comes, then the store hears of its end."""
    reservation = await quota.reserve(TOKENS, 90)
    store.changed.clear()
    await reservation.settle(20)
    await asyncio.wait_for(store.changed.wait(), 10)
    assert store.accounts["key:t"].tokens.total == 20


async def test_an_end_just_before_the_servers_is_told(quota, store):
    """Given a request that has just ended, when the server ends, then the store has heard of it."""
    await (await quota.reserve(TOKENS, 90)).settle(20)
    await quota.aclose()
    assert store.accounts["key:t"].tokens.total == 20


async def test_what_waits_goes_together(quota, store):
    """Given a store that is waited for, when many come meanwhile, then one more change is made."""
    store.ready = False
    waiting = [asyncio.ensure_future(quota.reserve(TOKENS, 1)) for _ in range(20)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    store.gate.set()
    await asyncio.gather(*waiting)
    assert store.changes == 1


async def test_nobody_overtakes_who_waits(quota, store):
    """Given one who waits for the store, when it can be changed now, then the next waits too."""
    store.ready = False
    first = asyncio.ensure_future(quota.reserve(ONE_PLACE, 0))
    await asyncio.sleep(0)
    store.ready = True
    second = asyncio.ensure_future(quota.reserve(ONE_PLACE, 0))
    await asyncio.sleep(0)
    assert not second.done()
    store.gate.set()
    await (await first).settle(0)
    with pytest.raises(Exception, match="requests at a time"):
        await second


async def test_who_leaves_while_waiting_holds_nothing(quota, store):
    """Given one who waits for the store, when its client leaves, then its place is free."""
    store.ready = False
    leaving = asyncio.ensure_future(quota.reserve(ONE_PLACE, 0))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    store.gate.set()
    await quota.reserve(ONE_PLACE, 0)


async def test_a_place_is_free_although_its_end_could_not_be_told(quota, store):
    """Given a store that is away when a request ends, when it is back, then the place is free."""
    reservation = await quota.reserve(ONE_PLACE, 0)
    store.away = StoreAway("gone")
    await reservation.settle(0)
    with pytest.raises(MeteringUnavailable):
        await quota.reserve(ONE_PLACE, 0)
    assert "gone" in quota.problem
    store.away = None
    await quota.reserve(ONE_PLACE, 0)
    assert not quota.problem
