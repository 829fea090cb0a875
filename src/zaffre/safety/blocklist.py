"""The filter of words and patterns that an operator forbids."""

import asyncio
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import re2  # type: ignore[import-untyped]

from zaffre.config.settings import ConfigurationError
from zaffre.core.safety import Blocklist, Passage, Verdict
from zaffre.safety.folding import fold

PATTERN_REACH = 64
"""A pattern's match may be longer, but then its beginning can leave before its end is seen."""
MAX_WORD_CHARACTERS = 256
MAX_WORDS = 100_000
MAX_PATTERNS = 1_000
WORDS_AT_ONCE = 2_000
PATTERN_MEMORY_BYTES = 8 << 20
"""Bound on what RE2 builds for one expression; a larger pattern is refused at start."""
SHORT_TEXT = 16_384
"""Characters up to which looking is quicker than asking a thread to look."""
WORDS_MEMORY_BYTES = 64 << 20
"""The same for many words at once; the longest words, all at once, need less than half."""
_JOINED_SCRIPTS = ("CJK ", "HIRAGANA", "KATAKANA", "THAI", "LAO ", "KHMER", "MYANMAR")
"""Names of letters whose scripts put no spaces between words."""


class _Expression(Protocol):
    def search(self, text: bytes) -> object: ...


class BlocklistFilter:
    """Looks for the words and patterns of some blocklists. A `Filter` and an `InstantFilter`.

    Time is linear in the text whatever the patterns are: RE2 does not backtrack.
    Raises `ConfigurationError` for patterns that cannot be used.
    """

    name = "blocklist"

    def __init__(self, blocklists: Mapping[str, Blocklist]) -> None:
        self._expressions = {name: _compile(name, listed) for name, listed in blocklists.items()}
        self._profane = frozenset(name for name, listed in blocklists.items() if listed.profanity)
        self.reach = max((_reach(listed) for listed in blocklists.values()), default=0)

    async def judge(self, passages: Sequence[Passage]) -> list[Verdict]:
        """See `Filter.judge`; it never fails."""
        if (verdicts := self.judge_now(passages)) is not None:
            return verdicts
        return await asyncio.to_thread(lambda: [self._judge(p.text) for p in passages])

    def judge_now(self, passages: Sequence[Passage]) -> list[Verdict] | None:
        """The verdicts on passages that are short enough; see `InstantFilter`."""
        if sum(len(passage.text) for passage in passages) > SHORT_TEXT:
            return None
        return [self._judge(passage.text) for passage in passages]

    def _judge(self, text: str) -> Verdict:
        # As bytes, because RE2's own conversion refuses lone surrogates.
        folded = fold(text).encode(errors="replace")
        hits = {
            name: any(expression.search(folded) for expression in expressions)
            for name, expressions in self._expressions.items()
        }
        if not self._profane:
            return Verdict(blocklists=hits)
        profane = any(hits[name] for name in self._profane)
        return Verdict(detections={"profanity": profane}, blocklists=hits)


def _compile(name: str, listed: Blocklist) -> list[_Expression]:
    if len(listed.words) > MAX_WORDS or len(listed.patterns) > MAX_PATTERNS:
        raise ConfigurationError(
            f"content_safety.blocklists.{name}: more than {MAX_WORDS} words or"
            f" {MAX_PATTERNS} patterns."
        )
    expressions = [
        _expression(name, pattern, WORDS_MEMORY_BYTES)
        for pattern in _word_patterns(name, listed.words)
    ]
    for pattern in listed.patterns:
        expressions.append(_expression(name, pattern, PATTERN_MEMORY_BYTES))
        if expressions[-1].search(b""):
            raise ConfigurationError(
                f"content_safety.blocklists.{name}: {_shown(pattern)}: is found in every text."
            )
    return expressions


def _expression(name: str, pattern: str, memory_bytes: int) -> _Expression:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.case_sensitive = False
    options.max_mem = memory_bytes
    try:
        compiled: _Expression = re2.compile(pattern, options)
    except re2.error as error:
        raise ConfigurationError(
            f"content_safety.blocklists.{name}: {_shown(pattern)}: {_reason(error)}."
        ) from None
    return compiled


def _word_patterns(name: str, words: Sequence[str]) -> Iterator[str]:
    """Expressions that find any of `words`, many words each."""
    alike: dict[tuple[str, str], list[str]] = {}
    for word in words:
        folded = fold(word)
        if not folded or len(folded) > MAX_WORD_CHARACTERS:
            raise ConfigurationError(
                f"content_safety.blocklists.{name}: {_shown(word)}: a word has 1 to"
                f" {MAX_WORD_CHARACTERS} visible characters."
            )
        # RE2's \b knows ASCII only.
        before = r"(?:^|[^\pL\pN_])" if _needs_edge(folded[0]) else ""
        after = r"(?:$|[^\pL\pN_])" if _needs_edge(folded[-1]) else ""
        alike.setdefault((before, after), []).append(re2.escape(folded))
    for (before, after), escaped in alike.items():
        for first in range(0, len(escaped), WORDS_AT_ONCE):
            yield f"{before}(?:{'|'.join(escaped[first : first + WORDS_AT_ONCE])}){after}"


def _needs_edge(character: str) -> bool:
    """Whether a word that ends in `character` must be set off from other letters."""
    if not (character.isalnum() or character == "_"):
        return False
    return not unicodedata.name(character, "").startswith(_JOINED_SCRIPTS)


def _reach(listed: Blocklist) -> int:
    longest = max((len(fold(word)) for word in listed.words), default=0)
    return max(longest, PATTERN_REACH if listed.patterns else 0)


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else pattern[:60] + "…")


def _reason(error: re2.error) -> str:
    first = error.args[0] if error.args else "cannot be used"
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
