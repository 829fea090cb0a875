"""The best of several continuations."""

import pytest

from zaffre.core.calls import CompletionCall, Sampling
from zaffre.core.deltas import Delta, Deltas, Finish, TextDelta, TokenLogprob, Usage
from zaffre.core.errors import InvalidParameter
from zaffre.engines.text.best_of import best, tried_sampling

USAGE = Usage(5, 12)


def _text(text: str, index: int, *scores: float) -> TextDelta:
    return TextDelta(text, index, tuple(TokenLogprob("t", score, b"t") for score in scores))


async def _drawn(*deltas: Delta) -> Deltas:
    for delta in deltas:
        yield delta


def _call(**asked: int | None) -> CompletionCall:
    return CompletionCall(("a", "b"), Sampling(n=1, **asked), best_of=2)


CANDIDATES = (
    _text("unlikely", 0, -3.0, -1.0),
    _text("lik", 1, -1.0),
    _text("ely", 1, -2.0, -0.5),
    Finish("stop", 1),
    Finish("length", 0),
    Finish("stop", 2),
    _text("something", 3, -9.0),
    Finish("stop", 3),
    USAGE,
)


async def test_the_likeliest_per_token_is_chosen():
    """Given two candidates per prompt, when they are ranked, then by their mean log probability."""
    chosen = [delta async for delta in best(_call(), _drawn(*CANDIDATES))]
    assert chosen == [
        TextDelta("lik", 0),
        TextDelta("ely", 0),
        Finish("stop", 0),
        TextDelta("something", 1),
        Finish("stop", 1),
        USAGE,
    ]


async def test_scores_are_kept_for_those_who_asked():
    """Given a wish for log probabilities, when the best is given out, then it has them."""
    first, *_ = [delta async for delta in best(_call(logprobs=0), _drawn(*CANDIDATES))]
    assert first == _text("lik", 0, -1.0)


def test_candidates_are_drawn_with_scores():
    """Given `best_of`, when candidates are drawn, then that many per prompt, with scores."""
    assert tried_sampling(_call()) == Sampling(n=2, logprobs=0)


def test_the_best_cannot_be_more_than_all():
    """Given `best_of` below `n`, when the call is made, then it is refused."""
    with pytest.raises(InvalidParameter):
        tried_sampling(CompletionCall(("a",), Sampling(n=3), best_of=2))
