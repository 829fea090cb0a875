"""The pool gives room in order of arrival, and loses none."""

import asyncio
from contextlib import suppress

import pytest

from zaffre.engines.llama.pool import TokenPool


class Visitor:
    """A task that holds room until it is told to leave."""

    def __init__(self, pool: TokenPool, tokens: int) -> None:
        self.inside = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(pool, tokens))

    async def _visit(self, pool: TokenPool, tokens: int) -> None:
        async with pool.take(tokens):
            self.inside = True
            await self._leave.wait()
        self.inside = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def settle() -> None:
    """Let every task run as far as it gets."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_that_fit_enter_at_once():
    """Given room for two, when two come, then both are inside."""
    pool = TokenPool(10)
    first, second = Visitor(pool, 4), Visitor(pool, 6)
    await settle()
    assert first.inside
    assert second.inside
    assert (pool.active, pool.waiting) == (2, 0)
    await first.leave()
    await second.leave()
    assert (pool.active, pool.waiting) == (0, 0)


async def test_none_overtakes_another():
    """Given one that waits, when a smaller one comes that would fit, then it waits behind."""
    pool = TokenPool(10)
    first, large, small = Visitor(pool, 6), Visitor(pool, 8), Visitor(pool, 1)
    await settle()
    assert [first.inside, large.inside, small.inside] == [True, False, False]
    assert pool.waiting == 2
    await first.leave()
    await settle()
    assert [large.inside, small.inside] == [True, True]
    await large.leave()
    await small.leave()


async def test_one_that_gives_up_in_the_line_makes_way():
    """Given a line, when its head is cancelled, then the next enters."""
    pool = TokenPool(10)
    first, large, small = Visitor(pool, 6), Visitor(pool, 8), Visitor(pool, 4)
    await settle()
    await large.cancel()
    await settle()
    assert small.inside
    await first.leave()
    await small.leave()
    async with asyncio.timeout(1), pool.take(10):
        assert pool.active == 1


@pytest.mark.parametrize("turns", range(4))
async def test_no_room_is_lost_when_the_turn_comes_with_the_cancellation(turns: int):
    """Given one whose turn comes while it is cancelled, when all are gone, then none is lost."""
    pool = TokenPool(10)
    first, second = Visitor(pool, 10), Visitor(pool, 10)
    await settle()
    leaving = asyncio.create_task(first.leave())
    for _ in range(turns):
        await asyncio.sleep(0)
    await second.cancel()
    await leaving
    async with asyncio.timeout(1), pool.take(10):
        assert pool.active == 1
