"""The classifier: heads over vectors, segment by segment."""

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.core.calls import EmbedCall
from zaffre.core.deltas import Embeddings, Usage
from zaffre.core.safety import CATEGORIES, FilterFailedError, Passage
from zaffre.safety.classifier import (
    CategoryHeads,
    ClassifierFilter,
    Head,
    Heads,
    shipped_heads,
)
from zaffre.safety.segments import MAX_SEGMENT, portions, segments

NEVER = Head((0.0, 0.0), -1.0)
NONE = CategoryHeads(NEVER, NEVER, NEVER)
GRADED = CategoryHeads(Head((1.0, 0.0), -1.0), Head((1.0, 0.0), -2.0), Head((1.0, 0.0), -3.0))
HEADS = Heads("tiny", 2, NONE, NONE, NONE, GRADED, Head((0.0, 1.0), -0.5))


def judged_by(vectors: dict[str, tuple[float, float]], calls: list[EmbedCall] | None = None):
    async def embed(call: EmbedCall) -> Embeddings:
        if calls is not None:
            calls.append(call)
        found = [vectors.get(text, (0.0, 0.0)) for text in call.texts]
        return Embeddings(tuple(array("f", vector).tobytes() for vector in found), Usage(1))

    return ClassifierFilter(embed, HEADS)


@pytest.mark.parametrize(
    ("score", "severity"), [(0.5, "safe"), (1.5, "low"), (2.5, "medium"), (3.5, "high")]
)
async def test_the_highest_head_that_says_yes_is_the_severity(score: float, severity: str):
    [verdict] = await judged_by({"x": (score, 0.0)}).judge([Passage("x", "assistant")])
    assert verdict.severities == dict.fromkeys(CATEGORIES, "safe") | {"violence": severity}
    assert verdict.detections == {}


@pytest.mark.parametrize("source", ["user", "tool", "system", "assistant", "completion"])
async def test_only_users_and_tools_are_asked_about_jailbreaks(source: str):
    [verdict] = await judged_by({"x": (0.0, 1.0)}).judge([Passage("x", source)])
    assert verdict.detections == ({"jailbreak": True} if source in ("user", "tool") else {})


async def test_one_segment_is_enough_and_each_is_asked_about_once():
    calls: list[EmbedCall] = []
    long = "Nothing to see here, this is a sentence of some length. " * 20
    bad = "b" * 70 + " " + "c" * 70 + " " + "d" * 70
    passages = [Passage(f"{long}\n{bad}", "system"), Passage(long, "system")]

    verdicts = await judged_by({bad: (9.0, 0.0)}, calls).judge(passages)

    assert [verdict.severities["violence"] for verdict in verdicts] == ["high", "safe"]
    asked = [text for call in calls for text in call.texts]
    assert len(asked) == len(set(asked))


async def test_what_was_judged_for_its_owner_is_not_asked_about_again():
    calls: list[EmbedCall] = []
    judging = judged_by({"bad": (9.0, 0.0)}, calls)
    rules, question = Passage("bad", "system", owner="key"), Passage("question", "user")
    first = await judging.judge([question, rules])
    again = await judging.judge([rules, question])
    assert again == first[::-1]
    assert [call.texts for call in calls] == [("question", "bad"), ("question",)]


async def test_long_texts_are_embedded_in_portions():
    calls: list[EmbedCall] = []
    text = "\n".join(f"Line {number} " + "x " * 90 for number in range(150))
    await judged_by({}, calls).judge([Passage(text, "user")])
    assert len(calls) > 1
    assert max(len(call.texts) for call in calls) <= 64


async def test_vectors_of_another_model_are_a_failure():
    async def embed(call: EmbedCall) -> Embeddings:
        return Embeddings((b"\0" * 4,) * len(call.texts), Usage(1))

    with pytest.raises(FilterFailedError, match="tiny"):
        await ClassifierFilter(embed, HEADS).judge([Passage("x", "user")])


def test_the_shipped_heads_are_whole():
    heads = shipped_heads()
    assert (heads.model, heads.dimensions) == ("all-minilm-l6-v2", 384)
    shipped = [heads.jailbreak]
    for category in CATEGORIES:
        graded = heads.of(category)
        shipped += [graded.low, graded.medium, graded.high]
    assert all(len(head.weights) == 384 and any(head.weights) for head in shipped)
    assert all(math.isfinite(w) for head in shipped for w in (*head.weights, head.bias))


@given(st.text())
def test_segments_keep_all_words_in_order_and_are_short(text: str):
    pieces = segments(text)
    assert all(0 < len(piece) <= MAX_SEGMENT for piece in pieces)


@given(st.lists(st.sampled_from(["word", "end.", "why?", "語。", "x" * 30, "\n"]), max_size=200))
def test_segments_lose_nothing(words: list[str]):
    text = " ".join(words)
    assert "".join("".join(segments(text)).split()) == "".join(text.split())


@given(st.text(), st.integers(201, 400))
def test_portions_overlap(text: str, size: int):
    parts = portions(text, size)
    assert parts[0] + "".join(part[200:] for part in parts[1:]) == text
