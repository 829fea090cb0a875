"""Hedging: a second start for those who are slow to say their first word."""

import asyncio
from contextlib import aclosing

import pytest
from fault_server import (
    GOOD_ANSWER,
    GOOD_STREAM,
    STREAM_HEAD,
    FaultServer,
    Gate,
    Then,
    event,
    refusal,
    said,
)
from pool_calls import HELLO, OpenPool, chat, text_of

from zaffre.core.deltas import TextDelta
from zaffre.core.errors import EngineFailed, InvalidRequest, ModelUnavailable
from zaffre.core.plan import Upstream
from zaffre.upstream.pool import PoolRules, UpstreamPool

AT_ONCE = PoolRules(hedge_after_s=0)
MUCH_LATER = PoolRules(hedge_after_s=600)


def pool_of(pooled: OpenPool, rules: PoolRules, *servers: FaultServer) -> UpstreamPool:
    upstreams = [Upstream(url=server.url, priority=i) for i, server in enumerate(servers)]
    return pooled(*upstreams, rules=rules)


@pytest.mark.parametrize("stream", [False, True])
async def test_who_speaks_first_goes_on_and_the_other_is_left(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool, stream: bool
):
    gate = Gate()
    fault.will([gate, Then.STALL])
    spare.will(GOOD_STREAM if stream else GOOD_ANSWER)
    pool = pool_of(pooled, AT_ONCE, fault, spare)
    assert text_of(await chat(pool, stream=stream)) == "Hi"
    gate.opened.set()
    await fault.left.wait()
    one, two = pool.statuses()
    assert (one.calls, one.total_failures, one.state) == (0, 0, "ready")
    assert (two.calls, two.total_calls) == (0, 1)


async def test_the_slow_one_may_still_win(fault: FaultServer, spare: FaultServer, pooled: OpenPool):
    gate, other = Gate(), Gate()
    fault.will([gate, *GOOD_STREAM])
    spare.will([other, Then.STALL])
    task = asyncio.create_task(chat(pool_of(pooled, AT_ONCE, fault, spare)))
    await other.reached.wait()
    gate.opened.set()
    assert text_of(await task) == "Hi"
    other.opened.set()
    await spare.left.wait()


async def test_who_is_quick_runs_alone(fault: FaultServer, spare: FaultServer, pooled: OpenPool):
    fault.will(GOOD_STREAM)
    assert text_of(await chat(pool_of(pooled, MUCH_LATER, fault, spare))) == "Hi"
    assert not spare.asked


async def test_a_failure_starts_the_next_at_once(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will(refusal(500))
    spare.will(GOOD_STREAM)
    assert text_of(await chat(pool_of(pooled, MUCH_LATER, fault, spare))) == "Hi"


async def test_the_calls_own_fault_ends_the_race(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will([Then.STALL])
    spare.will(refusal(400))
    with pytest.raises(InvalidRequest):
        await chat(pool_of(pooled, AT_ONCE, fault, spare))
    await fault.left.wait()


async def test_when_all_fail_the_last_failure_is_told(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will(refusal(500))
    spare.will(refusal(503))
    with pytest.raises((EngineFailed, ModelUnavailable)):
        await chat(pool_of(pooled, AT_ONCE, fault, spare))


async def test_a_failure_in_mid_answer_is_told(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    gate = Gate()
    fault.will([STREAM_HEAD, event(said("Hi")), gate, Then.CLOSE])
    pool = pool_of(pooled, MUCH_LATER, fault, spare)
    async with aclosing(pool.stream(HELLO)) as deltas:
        assert await anext(deltas) == [TextDelta("Hi")]
        gate.opened.set()
        with pytest.raises(EngineFailed):
            await anext(deltas)
    assert not spare.asked
    assert pool.statuses()[0].total_failures == 1


async def test_a_caller_who_leaves_ends_both(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    one, other = Gate(), Gate()
    fault.will([one, Then.STALL])
    spare.will([other, Then.STALL])
    pool = pool_of(pooled, AT_ONCE, fault, spare)
    task = asyncio.create_task(chat(pool))
    await one.reached.wait()
    await other.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    one.opened.set()
    other.opened.set()
    await fault.left.wait()
    await spare.left.wait()
    assert [status.calls for status in pool.statuses()] == [0, 0]
