"""Logistic heads: fitting them, and choosing where they begin to say yes."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float64]
FOLDS = 5
STEPS = 25
PENALTIES = (0.3, 1.0, 3.0, 10.0)
MAX_FALSE_ALARMS = 0.005
"""Share of harmless texts about which a head may be wrong, in cross-validation."""


class Examples(Struct, frozen=True):
    """Vectors (one per row), whether the answer is yes, and how much each counts."""

    vectors: Array
    answers: Array
    weights: Array
    folds: NDArray[np.int64]
    """Sentences of one family are in one fold."""


class Fitted(Struct, frozen=True):
    """A head's weights and bias; yes is above zero."""

    weights: Array
    bias: float


def fit(examples: Examples, *, room: float = MAX_FALSE_ALARMS) -> Fitted:
    """The head whose penalty and threshold do best in cross-validation over families."""
    best: tuple[float, float, float] | None = None
    for penalty in PENALTIES:
        scores = _out_of_fold(examples, penalty)
        threshold, quality = _threshold(scores, examples, room)
        if best is None or quality > best[0]:
            best = quality, penalty, threshold
    assert best is not None  # noqa: S101 - there are penalties
    weights = _newton(examples.vectors, examples.answers, examples.weights, best[1])
    return Fitted(weights[:-1], float(weights[-1] - best[2]))


def _out_of_fold(examples: Examples, penalty: float) -> Array:
    scores = np.zeros(len(examples.answers))
    for fold in range(FOLDS):
        inside = examples.folds != fold
        weights = _newton(
            examples.vectors[inside],
            examples.answers[inside],
            examples.weights[inside],
            penalty,
        )
        scores[~inside] = examples.vectors[~inside] @ weights[:-1] + weights[-1]
    return scores


def _threshold(scores: Array, examples: Examples, room: float) -> tuple[float, float]:
    """The score with the best F1 within the bound on false alarms, and that F1."""
    order = np.argsort(-scores)
    yes, weights = examples.answers[order] > 0, examples.weights[order]
    right = np.cumsum(weights * yes)
    wrong = np.cumsum(weights * ~yes)
    f1 = 2 * right / (right + wrong + (weights * yes).sum())
    f1[wrong > room * (weights * ~yes).sum()] = 0
    place = int(np.argmax(f1))
    following = scores[order][min(place + 1, len(order) - 1)]
    return float((scores[order][place] + following) / 2), float(f1[place])


def _newton(vectors: Array, answers: Array, weights: Array, penalty: float) -> Array:
    """Weights and, last, the bias of a logistic regression with an L2 penalty."""
    inputs = np.hstack([vectors, np.ones((len(vectors), 1))])
    ridge = np.full(inputs.shape[1], penalty)
    ridge[-1] = 1e-6
    found = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (weights * (likely - answers)) + ridge * found
        curve = (inputs * (weights * likely * (1 - likely))[:, None]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        found -= step
        if np.abs(step).max() < 1e-4:
            break
    return found
