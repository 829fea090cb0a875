"""Logistic heads: fitting them, and choosing where they begin to say yes."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float64]
FOLDS = 5
STEPS = 12
THRESHOLDS = 21
"""How many are tried."""
PENALTIES = (0.5, 2.0)


class Examples(Struct, frozen=True):
    """Vectors (one per row), whether the answer is yes, and how much each counts."""

    vectors: Array
    answers: Array
    weights: Array
    folds: NDArray[np.int64]
    """Sentences of one family are in one fold."""
    tests: NDArray[np.bool_]
    """Which of those whose answer is no are counted as false alarms."""


class Fitted(Struct, frozen=True):
    """A head's weights and bias; yes is above zero."""

    weights: Array
    bias: float


def fit(examples: Examples, max_false_alarms: float) -> Fitted:
    """The head that does best in cross-validation over families, by F2: what is missed weighs more
    than a false alarm. Of the texts that are tests, at most such a share are false alarms.
    """
    best = (-1.0, 0.0, 0.0)
    for penalty in PENALTIES:
        scores = _out_of_fold(examples, penalty)
        quality, threshold = _threshold(
            scores[examples.answers > 0], scores[examples.tests], max_false_alarms
        )
        best = max(best, (quality, penalty, threshold))
    _, penalty, threshold = best
    weights = _newton(examples.vectors, examples.answers, examples.weights, penalty)
    return Fitted(weights[:-1], float(weights[-1]) - threshold)


def _threshold(wanted: Array, harmless: Array, max_false_alarms: float) -> tuple[float, float]:
    """The best F2, and the score from which on it is reached."""
    best = (0.0, float(max(wanted.max(), harmless.max())))
    for threshold in np.quantile(harmless, 1 - max_false_alarms * np.linspace(0, 1, THRESHOLDS)):
        found, alarms = (wanted > threshold).sum(), (harmless > threshold).sum()
        missed = len(wanted) - found
        best = max(best, (float(5 * found / (5 * found + 4 * missed + alarms)), float(threshold)))
    return best


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
        if np.abs(step).max() < 1e-2:
            break
    return found
