"""`best_of`: of several continuations of a prompt, those whose tokens are the most likely."""

import math
from collections.abc import Sequence
from contextlib import aclosing
from statistics import fmean

from msgspec import structs

from zaffre.core.calls import CompletionCall, Sampling
from zaffre.core.deltas import Delta, Deltas, Finish, TextDelta, Usage
from zaffre.core.errors import InvalidParameter


def tried_sampling(call: CompletionCall) -> Sampling:
    """How to draw the candidates: `best_of` per prompt, with the scores to rank them by.

    Raises `InvalidParameter` when there are fewer of them than choices.
    """
    tried = call.best_of or call.sampling.n
    if tried < call.sampling.n:
        raise InvalidParameter(("best_of",), tried, "'best_of' must be at least 'n'.")
    return structs.replace(call.sampling, n=tried, logprobs=call.sampling.logprobs or 0)


async def best(call: CompletionCall, candidates: Deltas) -> Deltas:
    """The best `n` per prompt of `candidates`, drawn with `tried_sampling`; best first.

    Nothing comes before all candidates are complete. The usage is that of all of them.
    """
    wanted, tried = call.sampling.n, call.best_of or call.sampling.n
    drawn: dict[int, list[Delta]] = {}
    usage = Usage(0)
    async with aclosing(candidates):
        async for delta in candidates:
            if isinstance(delta, Usage):
                usage = delta
            else:
                drawn.setdefault(delta.index, []).append(delta)
    for number in range(len(call.prompts)):
        ranked = sorted(
            range(number * tried, (number + 1) * tried),
            key=lambda index: _likelihood(drawn[index]),
            reverse=True,
        )
        for place, index in enumerate(ranked[:wanted]):
            for delta in _moved(drawn[index], number * wanted + place, call.sampling.logprobs):
                yield delta
    yield usage


def _likelihood(deltas: Sequence[Delta]) -> float:
    """Mean log probability of the tokens."""
    scores = [
        token.logprob
        for delta in deltas
        if isinstance(delta, TextDelta)
        for token in delta.logprobs
    ]
    return fmean(scores) if scores else -math.inf


def _moved(deltas: Sequence[Delta], index: int, logprobs: int | None) -> list[Delta]:
    """The deltas as those of choice `index`, without scores that nobody asked for."""
    moved: list[Delta] = []
    for delta in deltas:
        if isinstance(delta, TextDelta):
            scored = () if logprobs is None else delta.logprobs
            moved.append(TextDelta(delta.text, index, scored))
        elif isinstance(delta, Finish):
            moved.append(Finish(delta.reason, index))
    return moved
