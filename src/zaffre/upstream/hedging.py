"""Races: one generation on several upstreams at a time, of which the first to speak goes on."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from zaffre.core.client import ModelClient
from zaffre.core.deltas import Batches, Delta
from zaffre.core.errors import EngineFailed, ZaffreError
from zaffre.upstream.member import Member

Start = Callable[[ModelClient], Batches]


class Race:
    """The runs that have not said anything yet. `aclose` it, whoever has won."""

    def __init__(self) -> None:
        self._runs: dict[asyncio.Task[list[Delta]], tuple[Member, Batches]] = {}

    def __len__(self) -> int:
        """How many are running."""
        return len(self._runs)

    def enter(self, member: Member, start: Start) -> None:
        """Let `member` run."""
        batches = member.generate(start)
        task = asyncio.ensure_future(_first(batches))
        self._runs[task] = (member, batches)

    async def result(
        self, timeout_s: float | None
    ) -> tuple[Member, Batches, list[Delta] | ZaffreError] | None:
        """One that has spoken, with its first deltas, or failed, with its error.

        None: nobody has within `timeout_s`.
        """
        done, _ = await asyncio.wait(
            self._runs, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            return None
        # Who has spoken goes before who has failed at the same moment.
        task = min(done, key=lambda each: each.exception() is not None)
        member, batches = self._runs.pop(task)
        try:
            return member, batches, task.result()
        except ZaffreError as error:
            return member, batches, error

    async def aclose(self) -> None:
        """End all that are still running."""
        runs, self._runs = self._runs, {}
        for task, (_, batches) in runs.items():
            task.cancel()
            with suppress(asyncio.CancelledError, ZaffreError):
                await task
            await batches.aclose()


async def _first(batches: Batches) -> list[Delta]:
    try:
        return await anext(batches)
    except StopAsyncIteration:
        raise EngineFailed("The model's answer ended before it was complete.") from None
