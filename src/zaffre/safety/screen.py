"""The screen: one policy applied to prompts before they are sent and to answers as they come."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Self

from zaffre.core.calls import GenerationCall
from zaffre.core.deltas import Batches, Delta, Finish, Usage
from zaffre.core.errors import ContentFiltered, ModelUnavailable, UnsupportedParameter, ZaffreError
from zaffre.core.safety import (
    Detection,
    Filter,
    Passage,
    Policy,
    Screened,
    ScreenReport,
    Thresholds,
)
from zaffre.safety.growing import GrowingChoice
from zaffre.safety.jury import Judgement, Jury
from zaffre.safety.passages import Prompt, prompts_of

RETRY_AFTER_S = 5
"""What clients are told when a filter is down and the policy fails closed."""


class Screen:
    """Applies `policy` with `filters`. Screens share `room`: judgements at a time."""

    def __init__(self, policy: Policy, filters: Sequence[Filter], room: asyncio.Semaphore) -> None:
        self._policy = policy
        self._jury = Jury(filters, room, timeout_s=policy.timeout_s)

    async def check_prompt(
        self, call: GenerationCall, report: ScreenReport, owner: str = ""
    ) -> None:
        """Judge everything in `call` that the model would see; `owner` is who calls.

        Raises `ContentFiltered`, and where a filter fails and the policy fails closed
        `ModelUnavailable`, or `UnsupportedParameter` for content that no filter can judge.
        """
        prompts = prompts_of(call, owner)
        if len(prompts) == 1:  # nearly always, and a task is not free
            found = [await self._judge_prompt(prompts[0])]
        else:
            found = await asyncio.gather(*(self._judge_prompt(prompt) for prompt in prompts))
        for position, (prompt, judgement) in enumerate(zip(prompts, found, strict=True)):
            screened = self._screened(judgement, self._policy.prompts)
            report.prompts[position] = screened
            if screened.filtered:
                raise ContentFiltered(screened)
            if screened.failed and self._policy.on_failure == "closed":
                raise self._refusal(prompt)

    async def watch(self, batches: Batches, report: ScreenReport) -> Batches:
        """The deltas that may leave, of `batches`, which is closed with this.

        A choice that breaks the policy ends with `Finish("content_filter")`, the others go on, and
        the `Usage` stays what it is. In a policy of mode `asynchronous` all deltas leave at once
        and each `Finish` waits until its choice's entry in `report` is complete. Raises
        `ModelUnavailable` where a filter fails and the policy fails closed.
        """
        watching = self._hold if self._policy.mode == "hold" else self._follow
        async with aclosing(watching(batches, report)) as leaving:
            async for batch in leaving:
                yield batch

    async def cleared(self, deltas: list[Delta], report: ScreenReport) -> list[Delta]:
        """Those of a whole answer that may leave; see `watch`."""
        leaving: list[Delta] = []
        async with aclosing(self.watch(_at_once(deltas), report)) as batches:
            async for batch in batches:
                leaving += batch
        return leaving

    async def _hold(self, batches: Batches, report: ScreenReport) -> Batches:
        choices = _Choices(self._jury.reach)
        async with aclosing(batches):
            async for batch in batches:
                leaving: list[Delta] = []
                try:
                    for delta in batch:
                        await self._clear(delta, choices, report, leaving)
                except ZaffreError:
                    if leaving:  # it was cleared, whatever became of the rest of its batch
                        yield leaving
                    raise
                if leaving:
                    yield leaving

    async def _clear(
        self, delta: Delta, choices: "_Choices", report: ScreenReport, leaving: list[Delta]
    ) -> None:
        """Add to `leaving` what may leave now that `delta` is there, or must leave in its place."""
        if isinstance(delta, Usage):
            for choice in choices.unfinished():
                cleared = await self._passes(choice, choice.end(), report)
                leaving += choice.take() if cleared else [choice.close()]
            leaving.append(delta)
            return
        choice = choices[delta.index]
        if not choice.closed:
            cleared = await self._passes(choice, choice.add(delta), report)
            leaving += choice.take() if cleared else [choice.close()]

    async def _follow(self, batches: Batches, report: ScreenReport) -> Batches:
        choices = _Choices(self._jury.reach)
        async with aclosing(batches), _Background() as background:
            async for batch in batches:
                leaving: list[Delta] = []
                for delta in batch:
                    unread = self._unread(delta, choices)
                    for choice, passages in unread:
                        background.start(choice.index, self._passes(choice, passages, report))
                    if isinstance(delta, Finish | Usage):
                        if leaving:  # nothing but the end waits for judgements
                            yield leaving
                            leaving = []
                        ended = [choice.index for choice, _ in unread]
                        for index in [delta.index] if isinstance(delta, Finish) else ended:
                            await background.done(index)
                    leaving.append(delta)
                yield leaving

    def _unread(
        self, delta: Delta, choices: "_Choices"
    ) -> list[tuple[GrowingChoice, list[Passage]]]:
        """What is to be judged now that `delta` is there, by choice."""
        if isinstance(delta, Usage):
            return [(choice, choice.end()) for choice in choices.unfinished()]
        choice = choices[delta.index]
        passages = choice.add(delta)
        choice.take()
        return [(choice, passages)] if passages else []

    async def _passes(
        self, choice: GrowingChoice, passages: Sequence[Passage], report: ScreenReport
    ) -> bool:
        """Whether the policy lets `passages` of `choice` through."""
        if not passages:  # nearly every token: windows are whole sentences
            report.choices[choice.index] = choice.screened
            return True
        judgement = await self._jury.judge(passages)
        found = self._screened(judgement, self._policy.completions)
        choice.screened = report.choices[choice.index] = choice.screened.joined(found)
        if judgement.failed and not found.filtered and self._policy.on_failure == "closed":
            raise _unavailable()
        return not found.filtered

    async def _judge_prompt(self, prompt: Prompt) -> Judgement:
        found = await self._jury.judge_both(prompt.passages, prompt.images)
        return found.joined(Judgement(failed=True)) if prompt.unreadable else found

    def _screened(self, judgement: Judgement, thresholds: Thresholds) -> Screened:
        verdict, policy = judgement.verdict, self._policy
        against: set[str] = {
            category
            for category, severity in verdict.severities.items()
            if thresholds.filters(category, severity)
        }
        counted: dict[Detection, bool] = {
            "jailbreak": policy.jailbreak,
            "profanity": True,
            "protected_material_text": policy.protected_material,
            "protected_material_code": policy.protected_material,
        }
        against |= {name for name, found in verdict.detections.items() if found and counted[name]}
        against |= {f"blocklist:{name}" for name, hit in verdict.blocklists.items() if hit}
        return Screened(verdict, frozenset(against), judgement.failed)

    def _refusal(self, prompt: Prompt) -> ZaffreError:
        """Why a prompt that was not judged whole is refused."""
        images = bool(prompt.images) and not self._jury.sees_images
        if not images and not prompt.unreadable:
            return _unavailable()
        what = "images" if images else "sound or token ids"
        return UnsupportedParameter(
            ("messages",),
            what,
            f"Content safety lets nothing through here that it cannot judge, and it cannot judge"
            f" {what}.",
        )


async def _at_once(deltas: list[Delta]) -> Batches:
    yield deltas


class _Choices:
    """The choices of an answer, by index."""

    def __init__(self, reach: int) -> None:
        self._reach = reach
        self._choices: dict[int, GrowingChoice] = {}

    def __getitem__(self, index: int) -> GrowingChoice:
        if index not in self._choices:
            self._choices[index] = GrowingChoice(index, self._reach)
        return self._choices[index]

    def unfinished(self) -> list[GrowingChoice]:
        """Those of a server that did not end them before it told the usage."""
        return [choice for choice in self._choices.values() if not choice.closed]


class _Background:
    """Judgements that deltas do not wait for. Leaving ends those that are still under way."""

    def __init__(self) -> None:
        self._tasks: dict[int, list[asyncio.Task[bool]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        left = [task for tasks in self._tasks.values() for task in tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def start(self, index: int, judging: Coroutine[Any, Any, bool]) -> None:
        """Judge a part of choice `index`."""
        task = asyncio.get_running_loop().create_task(judging)
        self._tasks.setdefault(index, []).append(task)

    async def done(self, index: int) -> None:
        """Wait for all judgements of choice `index`. Raises what one of them raised."""
        for task in self._tasks.get(index, []):
            await task


def _unavailable() -> ModelUnavailable:
    return ModelUnavailable(
        "The content filter is not available, and nothing is served here without it.",
        retry_after_s=RETRY_AFTER_S,
    )
