"""The two things that asynchronous and synchronous code do in different ways: pause and block."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def pause(duration_s: float) -> None:
    """Wait."""
    time.sleep(duration_s)


async def async_pause(duration_s: float) -> None:
    """Wait, while others go on."""
    await asyncio.sleep(duration_s)


def run(work: Callable[[], T]) -> T:
    """Do `work`, which blocks."""
    return work()


async def async_run(work: Callable[[], T]) -> T:
    """Do `work`, which blocks, in a thread, while others go on."""
    return await asyncio.to_thread(work)
