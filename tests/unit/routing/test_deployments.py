"""Deployments: how many calls they take, who is chosen, and how long a call waits for a start."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from zaffre.core.calls import OPERATIONS
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.errors import ModelUnavailable, Overloaded
from zaffre.core.plan import DeploymentPlan
from zaffre.routing.deployments import Deployment
from zaffre.routing.replicas import Replica

LONG_S = 20.0
ABLE = Capabilities(model="m", engine="e", operations=frozenset(OPERATIONS))


def deployment(replicas: int = 1, wake: Callable[[], None] = lambda: None) -> Deployment:
    card = ModelCard(name="m", format="echo", operations=OPERATIONS)
    plan = DeploymentPlan(name="m", model="echo")
    made = Deployment(plan, card, "echo", max_calls=2, created=0, wake=wake)
    made.replicas = [Replica(f"m-{number}", made.changed) for number in range(replicas)]
    return made


def client() -> Any:
    return object()  # only to be handed out


def test_calls_are_counted_in_and_out_and_refused_at_once_beyond_the_bound():
    one = deployment()
    with one.admitted(), one.admitted():
        assert one.calls == 2
        with pytest.raises(Overloaded) as refused, one.admitted():
            pytest.fail("one too many")
        assert refused.value.retry_after_s == 1
        assert one.calls == 2
    assert one.calls == 0


def test_a_call_that_fails_is_counted_out():
    one = deployment()
    for _ in range(3):
        with pytest.raises(KeyError), one.admitted(), one.replicas[0].borrowed():
            raise KeyError
    assert (one.calls, one.replicas[0].calls) == (0, 0)


async def test_a_replica_that_is_ready_is_used_at_once():
    one, there = deployment(), client()
    one.replicas[0].serves(there, ABLE)
    assert await one.ready_replica(timeout_s=0) == (one.replicas[0], there)
    assert one.state == "ready"
    assert one.capabilities is ABLE


async def test_calls_wait_while_it_starts():
    one, there = deployment(), client()
    waiting = [asyncio.ensure_future(one.ready_replica(0, LONG_S)) for _ in range(3)]
    await asyncio.sleep(0)
    one.replicas[0].hides("not yet")
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    one.replicas[0].serves(there, ABLE)
    assert await asyncio.gather(*waiting) == [(one.replicas[0], there)] * 3


async def test_calls_are_refused_when_it_turns_out_that_it_cannot_start():
    one = deployment()
    waiting = asyncio.ensure_future(one.ready_replica(0, LONG_S))
    await asyncio.sleep(0)
    one.replicas[0].ended("It has no file.")
    with pytest.raises(ModelUnavailable, match="'m' is not running; the server's log") as refused:
        await waiting
    assert refused.value.retry_after_s == 1
    assert (one.state, one.cause) == ("failed", "It has no file.")


async def test_one_that_ran_is_waited_for_again():
    one, there = deployment(), client()
    one.replicas[0].serves(there, ABLE)
    one.replicas[0].ended("It ended.")
    waiting = asyncio.ensure_future(one.ready_replica(0, LONG_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    one.replicas[0].serves(there, ABLE)
    assert (await waiting)[1] is there


async def test_the_wait_has_an_end():
    with pytest.raises(ModelUnavailable, match="still starting") as refused:
        await deployment().ready_replica(timeout_s=0.01)
    assert refused.value.retry_after_s == 5


async def test_the_least_busy_replica_is_chosen():
    one = deployment(replicas=3)
    for replica in one.replicas:
        replica.serves(client(), ABLE)
    with one.replicas[0].borrowed(), one.replicas[2].borrowed():
        assert (await one.ready_replica())[0] is one.replicas[1]


async def test_calls_that_begin_alike_stay_together_until_others_are_much_less_busy():
    one = deployment(replicas=3)
    for replica in one.replicas:
        replica.serves(client(), ABLE)
    known = (await one.ready_replica(affinity=12345))[0]
    with known.borrowed():
        assert (await one.ready_replica(affinity=12345))[0] is known
        with known.borrowed():
            assert (await one.ready_replica(affinity=12345))[0] is not known


async def test_a_retired_replica_gets_no_calls():
    one = deployment(replicas=2)
    for replica in one.replicas:
        replica.serves(client(), ABLE)
    one.replicas[0].retire()
    one.replicas[0].serves(client(), ABLE)  # its worker came back too late
    assert {(await one.ready_replica(n))[0] for n in range(9)} == {one.replicas[1]}


async def test_what_is_not_loaded_is_loaded_once_for_all_who_wait():
    woken = []

    def start() -> None:
        woken.append(1)
        one.replicas.append(Replica("m-1", one.changed))

    one = deployment(replicas=0, wake=start)
    waiting = [asyncio.ensure_future(one.ready_replica(0, LONG_S)) for _ in range(5)]
    await asyncio.sleep(0)
    assert woken == [1]
    one.replicas[0].serves(client(), ABLE)
    assert {replica for replica, _ in await asyncio.gather(*waiting)} == set(one.replicas)


async def test_trouble_with_loading_reaches_all_who_wait_and_the_next_call_tries_again():
    woken = []

    def wake() -> None:
        woken.append(1)
        one.replicas.append(Replica("m-1", one.changed))

    one = deployment(replicas=0, wake=wake)
    waiting = [asyncio.ensure_future(one.ready_replica(0, LONG_S)) for _ in range(2)]
    await asyncio.sleep(0)
    one.replicas.clear()
    one.trouble = ModelUnavailable("It needs 9 MiB.")
    one.changed()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["It needs 9 MiB."] * 2
    again = asyncio.ensure_future(one.ready_replica(0, LONG_S))
    await asyncio.sleep(0)
    assert woken == [1, 1]
    one.replicas[0].serves(client(), ABLE)
    assert (await again)[0] is one.replicas[0]


async def test_a_lost_client_has_a_successor():
    """Given a worker that has died, when its supervisor starts the next, then that one is used."""
    one, lost, following = deployment(), client(), client()
    one.replicas[0].serves(lost, ABLE)
    waiting = asyncio.ensure_future(one.successor(lost))
    await asyncio.sleep(0)
    one.replicas[0].ended("signal SIGKILL")
    await asyncio.sleep(0)
    assert not waiting.done()
    one.replicas[0].serves(following, ABLE)
    assert await waiting == (one.replicas[0], following)
