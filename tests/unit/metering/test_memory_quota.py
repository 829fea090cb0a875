"""Quotas in memory: exact under a race, and bounded."""

import asyncio

import pytest

from zaffre.core.errors import QuotaExceeded
from zaffre.core.metering import Scope
from zaffre.core.plan import Limits
from zaffre.metering.quota import SWEEP_AT, MemoryQuota

NOW = 1_790_000_000.0


async def test_exactly_the_limit_gets_through():
    """Given 200 requests at once on a quota of 100, when all are answered, then 100 are in."""
    quota = MemoryQuota(clock=lambda: NOW)
    scopes = [Scope("key", "k", Limits(requests_per_minute=100))]
    outcomes = await asyncio.gather(
        *(quota.reserve(scopes, 1) for _ in range(200)), return_exceptions=True
    )
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 100


async def test_settling_twice_gives_back_once():
    """Given a settled request, when it is settled again, then nothing changes."""
    quota = MemoryQuota(clock=lambda: NOW)
    scopes = [Scope("key", "k", Limits(tokens_per_minute=100, concurrent_requests=2))]
    await quota.reserve(scopes, 10)
    twice = await quota.reserve(scopes, 50)
    await twice.settle(0)
    await twice.settle(0)
    await quota.reserve(scopes, 90)
    with pytest.raises(QuotaExceeded):
        await quota.reserve(scopes, 0)


async def test_accounts_that_say_nothing_are_dropped():
    """Given many callers of long ago, when new ones come, then memory does not keep the old."""
    now = NOW
    quota = MemoryQuota(clock=lambda: now)
    limits = Limits(requests_per_minute=1)
    for number in range(SWEEP_AT):
        await quota.reserve([Scope("key", f"old-{number}", limits)], 0)
    now = NOW + 61
    await quota.reserve([Scope("key", "new", limits)], 0)
    assert len(quota._accounts) == 1
