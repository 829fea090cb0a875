"""The owner thread: fair, bounded, and nobody pays for another's failure."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from zaffre.core.errors import EngineFailed, ModelUnavailable
from zaffre.engines.onnx.batcher import Array, Batcher, Vectors

MAX_SIZE = 8


class FakeTower:
    """A tower whose vector is the piece's first number; it waits for `gate` and keeps a log."""

    def __init__(self, max_batch: int | None = None) -> None:
        self.max_batch = max_batch
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[int]] = []
        self.entered = threading.Event()

    def size(self, content: Array) -> int:
        return len(content)

    def run(self, contents: Sequence[Array]) -> Vectors:
        self.entered.set()
        assert self.gate.wait(timeout=20)
        self.batches.append([int(content[0]) for content in contents])
        if any(content[0] < 0 for content in contents):
            raise RuntimeError("a negative number")
        return np.array([[content[0]] for content in contents], np.float32)


@pytest.fixture
async def batcher() -> AsyncIterator[Batcher]:
    batcher = Batcher("fake", MAX_SIZE)
    yield batcher
    await batcher.aclose()


def pieces(tower: FakeTower, *numbers: int, size: int = 1) -> list[tuple[FakeTower, Array]]:
    return [(tower, np.full(size, number)) for number in numbers]


async def submitted(
    batcher: Batcher, contents: Sequence[tuple[FakeTower, Array]]
) -> asyncio.Task[list[Vectors]]:
    """A task whose pieces are in the queue."""
    task = asyncio.create_task(batcher.run(contents))
    await asyncio.sleep(0)
    return task


async def hold(batcher: Batcher, tower: FakeTower) -> asyncio.Task[list[Vectors]]:
    """Keep the owner thread busy until `tower.gate` is set."""
    tower.gate.clear()
    task = await submitted(batcher, pieces(tower, 0))
    await asyncio.to_thread(tower.entered.wait)
    return task


async def test_batches_stay_within_the_bound(batcher: Batcher) -> None:
    tower = FakeTower()

    vectors = await batcher.run(pieces(tower, *range(50)))

    assert [int(vector[0]) for vector in vectors] == list(range(50))
    assert max(map(len, tower.batches)) == MAX_SIZE


async def test_padding_counts_and_a_giant_runs_alone(batcher: Batcher) -> None:
    tower = FakeTower()
    holder = await hold(batcher, tower)

    task = await submitted(
        batcher, pieces(tower, 1, 2, size=1) + pieces(tower, 4, size=4) + pieces(tower, 3, size=20)
    )
    tower.gate.set()
    await asyncio.gather(holder, task)

    # 4 fits with no other: three rows of four are more than eight.
    assert [sorted(batch) for batch in tower.batches[1:]] == [[1, 2], [4], [3]]


async def test_a_network_with_a_fixed_batch_is_not_given_more(batcher: Batcher) -> None:
    tower = FakeTower(max_batch=2)

    await batcher.run(pieces(tower, 1, 2, 3, 4, 5))

    assert max(map(len, tower.batches)) <= 2


async def test_small_calls_share_a_batch(batcher: Batcher) -> None:
    tower = FakeTower()
    holder = await hold(batcher, tower)

    tasks = [await submitted(batcher, pieces(tower, number)) for number in range(1, 6)]
    tower.gate.set()
    answers = await asyncio.gather(holder, *tasks)

    assert sorted(tower.batches[1]) == [1, 2, 3, 4, 5]
    assert [int(answer[0][0]) for answer in answers] == [0, 1, 2, 3, 4, 5]


async def test_a_small_call_does_not_wait_for_a_large_one(batcher: Batcher) -> None:
    tower = FakeTower()
    holder = await hold(batcher, tower)

    large = await submitted(batcher, pieces(tower, *range(100, 200)))
    small = await submitted(batcher, pieces(tower, 7))
    tower.gate.set()
    await asyncio.gather(holder, large, small)

    assert next(place for place, batch in enumerate(tower.batches) if 7 in batch) <= 2


async def test_towers_do_not_mix(batcher: Batcher) -> None:
    texts, images = FakeTower(), FakeTower()

    mixed = pieces(texts, 1) + pieces(images, 101) + pieces(texts, 2) + pieces(images, 102)
    answers = await asyncio.gather(*(batcher.run(mixed) for _ in range(4)))

    assert all([int(vector[0]) for vector in answer] == [1, 101, 2, 102] for answer in answers)
    assert {number for batch in texts.batches for number in batch} == {1, 2}
    assert {number for batch in images.batches for number in batch} == {101, 102}


async def test_a_failure_is_its_own_calls_only(batcher: Batcher) -> None:
    tower = FakeTower()
    holder = await hold(batcher, tower)

    tasks = [await submitted(batcher, pieces(tower, number)) for number in (1, -5, 2)]
    tower.gate.set()
    good, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
    await holder

    assert isinstance(bad, EngineFailed)
    assert str(bad.__cause__) == "a negative number"
    assert isinstance(good, list)
    assert isinstance(other, list)
    assert int((await batcher.run(pieces(tower, 9)))[0][0]) == 9


async def test_what_is_cancelled_is_not_run(batcher: Batcher) -> None:
    tower = FakeTower()
    holder = await hold(batcher, tower)

    dropped = await submitted(batcher, pieces(tower, *range(100, 200)))
    dropped.cancel()
    kept = await submitted(batcher, pieces(tower, 7))
    tower.gate.set()
    await asyncio.gather(holder, kept)

    assert dropped.cancelled()
    assert tower.batches == [[0], [7]]


async def test_active_calls_are_those_in_the_running_batch(batcher: Batcher) -> None:
    tower = FakeTower()
    assert batcher.active == 0

    holder = await hold(batcher, tower)
    waiting = await submitted(batcher, pieces(tower, 1))
    assert batcher.active == 1

    tower.gate.set()
    await asyncio.gather(holder, waiting)
    await batcher.aclose()
    assert batcher.active == 0


async def test_closing_ends_the_running_batch_and_refuses_the_rest() -> None:
    tower = FakeTower()
    batcher = Batcher("fake", MAX_SIZE)
    holder = await hold(batcher, tower)
    waiting = await submitted(batcher, pieces(tower, 1))

    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)  # it is closed, and waits for the thread
    tower.gate.set()
    await closing

    assert int((await holder)[0][0]) == 0
    with pytest.raises(ModelUnavailable):
        await waiting
    with pytest.raises(ModelUnavailable):
        await batcher.run(pieces(tower, 2))
    assert tower.batches == [[0]]
