"""Blocklists: what words and patterns find, in whichever spelling, and what is refused at start."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.config.settings import ConfigurationError
from zaffre.core.safety import Blocklist, Passage, Verdict
from zaffre.safety.blocklist import MAX_WORD_CHARACTERS, WORDS_AT_ONCE, BlocklistFilter
from zaffre.safety.folding import fold


async def hit(text: str, *, words: tuple[str, ...] = (), patterns: tuple[str, ...] = ()) -> bool:
    blocklist = BlocklistFilter({"house": Blocklist(words=words, patterns=patterns)})
    [verdict] = await blocklist.judge([Passage(text, "user")])
    return verdict.blocklists["house"]


@pytest.mark.parametrize(
    "text",
    [
        "grue",
        "A GRUE!",
        "grue, and more",
        "(Grue)",
        "Ｇｒｕｅ",
        "𝓰𝓻𝓾𝓮",
        "g\u200br\u200cu\u2060e",
        "gr\u00adue",
        "g\u0336r\u0336u\u0336e\u0336",
        "\u202egrue\u202c",
        "grue\ufe0f",
        "gru\u0435",
        "line\ngrue\tline",
    ],
    ids=ascii,
)
async def test_a_word_is_found_in_any_dress(text: str):
    assert await hit(text, words=("Grue",))


@pytest.mark.parametrize("text", ["congruent", "grues", "agrue", "grue1", "grüe", "", "été grueé"])
async def test_a_word_is_found_whole_only(text: str):
    assert not await hit(text, words=("grue",))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("grue bleen", "GRUE \n\n bleen"),
        ("straße", "STRASSE"),
        ("日本", "これは日本語です"),
        ("c++", "I like c++."),
        ("$$$", "win$$$now"),
        ("дом", "ДОМ."),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
    ],
)
async def test_words_of_many_kinds(word: str, text: str):
    assert await hit(text, words=(word,))


async def test_patterns_are_found_anywhere_in_folded_text():
    assert await hit("Card 1234-5678 ok", patterns=(r"\d{4}-\d{4}",))
    assert await hit("CALL\nME", patterns=("call me",))
    assert not await hit("Card 1234", patterns=(r"\d{4}-\d{4}",))


async def test_a_pattern_that_would_explode_elsewhere_takes_no_time():
    begun = time.monotonic()
    assert not await hit("a" * 200_000, patterns=(r"(a+)+$b", r"(a|a)*c", r"(.*.*.*)*d"))
    assert time.monotonic() - begun < 20  # with backtracking it would be years


@pytest.mark.parametrize(
    ("words", "patterns", "says"),
    [
        ((), ("(a",), "(a"),
        ((), (r"(a)\1",), "escape"),
        ((), ("(?=a)",), "(?="),
        ((), ("((((a{100}){100}){100}){100})",), "repetition"),
        ((), ("a*",), "every text"),
        (("\u200b",), (), "visible"),
        (("a" * 257,), (), "visible"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(
    words: tuple[str, ...], patterns: tuple[str, ...], says: str
):
    with pytest.raises(ConfigurationError) as refused:
        BlocklistFilter({"house": Blocklist(words=words, patterns=patterns)})
    assert "content_safety.blocklists.house" in str(refused.value)
    assert says in str(refused.value)


async def test_many_words_are_looked_for_at_once():
    many = tuple(f"word{number}" for number in range(5000))
    assert await hit("here is word4999 now", words=many)
    assert not await hit("here is word5000 now", words=many)


def test_the_longest_words_fit():
    many = tuple(f"{number:05}{'語' * 251}" for number in range(WORDS_AT_ONCE))
    assert BlocklistFilter({"house": Blocklist(words=many)}).reach == MAX_WORD_CHARACTERS


async def test_lists_are_told_apart_and_profanity_is_named():
    blocklist = BlocklistFilter(
        {"house": Blocklist(words=("foo",)), "rude": Blocklist(words=("bar",), profanity=True)}
    )
    foo, bar = await blocklist.judge([Passage("foo", "user"), Passage("bar", "completion")])
    assert foo == Verdict({}, {"profanity": False}, {"house": True, "rude": False})
    assert bar == Verdict({}, {"profanity": True}, {"house": False, "rude": True})


@pytest.mark.parametrize("size", [10, 20_000])
async def test_texts_of_any_size_and_any_characters_are_judged(size: int):
    assert await hit("\ud800 " + "x " * size + "grue", words=("grue",))


def test_reach_is_what_a_match_may_be_long():
    listed = {"house": Blocklist(words=("a", "grue bleen")), "other": Blocklist()}
    assert BlocklistFilter(listed).reach == len("grue bleen")
    assert BlocklistFilter({"house": Blocklist(patterns=("a+b",))}).reach >= 64


@given(st.text())
def test_folding_again_changes_nothing(text: str):
    assert fold(fold(text)) == fold(text)
