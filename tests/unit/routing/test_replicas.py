"""Replicas: how many calls they take, and how long a call waits for one that is starting."""

import asyncio

import pytest

from zaffre.core.client import ModelClient
from zaffre.core.errors import ModelUnavailable, Overloaded
from zaffre.routing.replicas import Replica, ready_client, successor
from zaffre.upstream.client import UpstreamClient

LONG_S = 20.0


@pytest.fixture
async def client() -> ModelClient:
    there = UpstreamClient("http://nowhere.invalid/v1", secret="s")
    await there.aclose()  # it is only to be handed out
    return there


def test_calls_are_counted_in_and_out_and_refused_at_once_beyond_the_bound():
    replica = Replica("r", max_calls=2)
    with replica.borrowed(), replica.borrowed():
        assert replica.calls == 2
        assert replica.full
        with pytest.raises(Overloaded) as refused, replica.borrowed():
            pytest.fail("one too many")
        assert refused.value.retry_after_s == 1
        assert replica.calls == 2
    assert replica.calls == 0
    assert not replica.full


def test_a_call_that_fails_is_counted_out():
    replica = Replica("r", max_calls=1)
    for _ in range(3):
        with pytest.raises(KeyError), replica.borrowed():
            raise KeyError
    assert replica.calls == 0


async def test_a_replica_that_is_ready_is_used_at_once(client: ModelClient):
    replica = Replica("r", max_calls=1)
    replica.became("ready", client)
    assert await ready_client(replica, timeout_s=0) is client


async def test_calls_wait_while_it_starts(client: ModelClient):
    replica = Replica("r", max_calls=9)
    waiting = [asyncio.ensure_future(ready_client(replica, LONG_S)) for _ in range(3)]
    await asyncio.sleep(0)
    replica.became("starting", cause="not yet")
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    replica.became("ready", client)
    assert await asyncio.gather(*waiting) == [client] * 3


async def test_calls_are_refused_when_it_turns_out_that_it_cannot_start():
    replica = Replica("r", max_calls=9)
    waiting = asyncio.ensure_future(ready_client(replica, LONG_S))
    await asyncio.sleep(0)
    replica.became("failed", cause="It has no file.")
    with pytest.raises(ModelUnavailable, match="'r' is not running; the server's log") as refused:
        await waiting
    assert refused.value.retry_after_s == 1


@pytest.mark.parametrize("state", ["failed", "stopped"])
async def test_one_that_does_not_run_is_not_waited_for(state: str):
    replica = Replica("r", max_calls=1)
    replica.became(state)  # type: ignore[arg-type]
    with pytest.raises(ModelUnavailable):
        await ready_client(replica, LONG_S)


async def test_the_wait_has_an_end():
    with pytest.raises(ModelUnavailable, match="still starting") as refused:
        await ready_client(Replica("r", max_calls=1), timeout_s=0.01)
    assert refused.value.retry_after_s == 5


async def test_a_call_that_is_cancelled_leaves_nobody_behind(client: ModelClient):
    replica = Replica("r", max_calls=1)

    async def use() -> None:
        with replica.borrowed():
            await ready_client(replica, LONG_S)

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0)
    assert replica.calls == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert replica.calls == 0
    replica.became("ready", client)
    await use()


async def test_a_lost_client_has_a_successor():
    """Given a worker that has died, when its supervisor starts the next, then that one is used."""
    lost, following = object(), object()
    replica = Replica("r", max_calls=1)
    replica.became("ready", lost)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(successor(replica, lost))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    replica.became("starting")
    await asyncio.sleep(0)
    assert not waiting.done()
    replica.became("ready", following)  # type: ignore[arg-type]
    assert await waiting is following
