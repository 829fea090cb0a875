"""What a model thinks before it answers, kept apart from the answer."""

from typing import Literal

from zaffre.engines.text.text_stream import overlap

Kind = Literal["thought", "answer"]
OPENING = "<think>"
CLOSING = "</think>"
_TEMPLATE_TAIL_CHARACTERS = 400
"""Where a template that opens the thoughts itself does so: at its very end."""


def thinks(chat_template: str | None) -> bool:
    """Whether a model with this template writes its thoughts between the usual markers."""
    return chat_template is not None and CLOSING in chat_template


def begins_inside(prompt: str) -> bool:
    """Whether a rendered prompt has opened the thoughts already, so that the answer has not to."""
    tail = prompt[-_TEMPLATE_TAIL_CHARACTERS:]
    return tail.rstrip().endswith(OPENING)


class ThoughtSplitter:
    """Splits an answer that comes in pieces into thoughts and what is said.

    Thoughts stand between the markers at the very beginning; markers later on are text. White space
    around the markers belongs to neither side. An answer that ends inside its thoughts is all
    thought.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._held = ""
        self._state: Literal["before", "inside", "after"] = "inside" if inside else "before"
        self._trim = inside
        """Whether white space at the beginning of what comes next is to be dropped."""

    @property
    def thinking(self) -> bool:
        """Whether the model has not closed its thoughts yet."""
        return self._state == "inside"

    def push(self, text: str) -> list[tuple[Kind, str]]:
        """What is certain now, in order."""
        self._held += text
        pieces: list[tuple[Kind, str]] = []
        if self._state == "before":
            self._look_for_opening()
        if self._state == "inside":
            self._take_thoughts(pieces)
        if self._state == "after":
            self._take("answer", len(self._held), pieces)
        return pieces

    def close(self) -> list[tuple[Kind, str]]:
        """What was held back, now that no more text comes."""
        pieces: list[tuple[Kind, str]] = []
        kind: Kind = "thought" if self._state == "inside" else "answer"
        self._take(kind, len(self._held), pieces)
        return pieces

    def _look_for_opening(self) -> None:
        stripped = self._held.lstrip()
        if stripped.startswith(OPENING):
            self._state, self._trim = "inside", True
            self._held = stripped[len(OPENING) :]
        elif not OPENING.startswith(stripped):
            self._state = "after"

    def _take_thoughts(self, pieces: list[tuple[Kind, str]]) -> None:
        at = self._held.find(CLOSING)
        if at >= 0:
            thought = self._held[:at].rstrip()
            self._held = thought + self._held[at:]
            self._take("thought", len(thought), pieces)
            self._held = self._held.lstrip()[len(CLOSING) :]
            self._state, self._trim = "after", True
            return
        # Held back: the beginning of the marker, and white space that may stand before it.
        certain = len(self._held[: len(self._held) - overlap(self._held, CLOSING)].rstrip())
        self._take("thought", certain, pieces)

    def _take(self, kind: Kind, length: int, pieces: list[tuple[Kind, str]]) -> None:
        text, self._held = self._held[:length], self._held[length:]
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        if text:
            pieces.append((kind, text))
