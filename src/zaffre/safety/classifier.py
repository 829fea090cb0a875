"""The local filter: vectors of a deployed MiniLM, and a few logistic heads over them.

The heads are made by `training/safety/train.py`; docs/reference/content-safety.md says how well
they do. The vectors come from a worker, so that nothing is loaded here.
"""

import asyncio
import operator
import sys
from array import array
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

from zaffre.core.calls import EmbedCall
from zaffre.core.deltas import Embeddings
from zaffre.core.safety import (
    CATEGORIES,
    Category,
    FilterFailedError,
    Passage,
    Severity,
    Verdict,
)
from zaffre.safety.memory import VerdictMemory
from zaffre.safety.segments import segments

Embed = Callable[[EmbedCall], Awaitable[Embeddings]]
"""What asks the embedding deployment; `zaffre.core.client.ModelClient.embed` is one."""

TEXTS_AT_ONCE = 64
"""Segments per call to the embedding deployment."""
SCORED_AT_ONCE = 16
"""Segments scored before others have their turn: some 2 ms of arithmetic."""
_INJECTABLE = ("user", "tool")
"""Sources that may try to talk the model out of its rules. An application's own instructions look
much the same and are none."""


class Head(Struct, frozen=True):
    """Says yes to vectors whose product with `weights`, plus `bias`, is above zero."""

    weights: tuple[float, ...]
    bias: float

    def says_yes(self, vector: Sequence[float]) -> bool:
        """Whether the head finds what it looks for."""
        score: float = sum(map(operator.mul, self.weights, vector), self.bias)
        return score > 0


class CategoryHeads(Struct, frozen=True):
    """The heads of one category, one per severity that it may have or exceed."""

    low: Head
    medium: Head
    high: Head

    def severity(self, vector: Sequence[float]) -> Severity:
        """The highest severity whose head says yes."""
        levels: tuple[Literal["high", "medium", "low"], ...] = ("high", "medium", "low")
        for level in levels:
            head: Head = getattr(self, level)
            if head.says_yes(vector):
                return level
        return "safe"


class Heads(Struct, frozen=True):
    """All heads, and the model whose vectors they were trained on."""

    model: str
    dimensions: int
    hate: CategoryHeads
    self_harm: CategoryHeads
    sexual: CategoryHeads
    violence: CategoryHeads
    jailbreak: Head

    def of(self, category: Category) -> CategoryHeads:
        """The heads of `category`."""
        heads: CategoryHeads = getattr(self, category)
        return heads

    def judge(self, vector: Sequence[float], *, injectable: bool) -> Verdict:
        """What the heads find in a text with this vector."""
        severities = {category: self.of(category).severity(vector) for category in CATEGORIES}
        if not injectable:
            return Verdict(severities)
        return Verdict(severities, {"jailbreak": self.jailbreak.says_yes(vector)})


def shipped_heads() -> Heads:
    """The heads that come with this package."""
    return msgspec.json.decode((files("zaffre.safety") / "heads.json").read_bytes(), type=Heads)


class ClassifierFilter:
    """Judges texts segment by segment. A `Filter`; knows English only."""

    name = "classifier"
    reach = 0
    """Windows overlap, and what it judges is meaning, which begins nowhere."""

    def __init__(self, embed: Embed, heads: Heads) -> None:
        self._embed = embed
        self._heads = heads
        self._memory = VerdictMemory()

    async def judge(self, passages: Sequence[Passage]) -> list[Verdict]:
        """See `Filter.judge`. What was judged for the same owner before is not judged again."""
        verdicts = {
            place: known
            for place, passage in enumerate(passages)
            if (known := self._memory.recall(passage)) is not None
        }
        new = [place for place in range(len(passages)) if place not in verdicts]
        judged = await self._judge_new([passages[place] for place in new])
        for place, verdict in zip(new, judged, strict=True):
            verdicts[place] = verdict
            self._memory.keep(passages[place], verdict)
        return [verdicts[place] for place in range(len(passages))]

    async def _judge_new(self, passages: Sequence[Passage]) -> list[Verdict]:
        pieces = [segments(passage.text) for passage in passages]
        wanted = list(dict.fromkeys(piece for found in pieces for piece in found))
        vectors = dict(zip(wanted, await self._vectors(wanted), strict=True))
        verdicts = []
        for passage, found in zip(passages, pieces, strict=True):
            injectable = passage.source in _INJECTABLE
            near = [vectors[piece] for piece in found]
            verdicts.append(await self._judge(near, injectable=injectable))
        return verdicts

    async def _judge(self, vectors: Sequence[Sequence[float]], *, injectable: bool) -> Verdict:
        worst = Verdict(
            dict.fromkeys(CATEGORIES, "safe"), {"jailbreak": False} if injectable else {}
        )
        for number, vector in enumerate(vectors, 1):
            worst = worst.joined(self._heads.judge(vector, injectable=injectable))
            if number % SCORED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return worst

    async def _vectors(self, texts: Sequence[str]) -> list[Sequence[float]]:
        vectors: list[Sequence[float]] = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            call = EmbedCall(tuple(texts[first : first + TEXTS_AT_ONCE]))
            vectors += map(self._read, (await self._embed(call)).vectors)
        return vectors

    def _read(self, content: bytes) -> Sequence[float]:
        vector = array("f", content)
        if sys.byteorder == "big":
            vector.byteswap()
        if len(vector) != self._heads.dimensions:
            raise FilterFailedError(
                f"the embedding deployment gives {len(vector)} dimensions, not those of"
                f" {self._heads.model}"
            )
        return vector
