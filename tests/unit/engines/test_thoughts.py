"""Thoughts and answers, however the text is cut into pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.engines.text.thoughts import ThoughtSplitter, begins_inside, thinks

CASES = [
    ("<think>why</think>because", "why", "because"),
    ("<think>\nwhy\n</think>\n\nbecause", "why", "because"),
    ("  <think>why</think> because", "why", "because"),
    ("no thoughts here", "", "no thoughts here"),
    ("an <think>odd</think> one", "", "an <think>odd</think> one"),
    ("<think>never closed", "never closed", ""),
    ("<think></think>at once", "", "at once"),
    ("<think>a < b and </thin</think>yes", "a < b and </thin", "yes"),
    ("<thi", "", "<thi"),
    ("", "", ""),
    ("<think>one</think>two <think>three</think>", "one", "two <think>three</think>"),
]


def _split(pieces: list[str], *, inside: bool = False) -> tuple[str, str]:
    splitter = ThoughtSplitter(inside=inside)
    found = [item for piece in pieces for item in splitter.push(piece)] + splitter.close()
    thought = "".join(text for kind, text in found if kind == "thought")
    return thought, "".join(text for kind, text in found if kind == "answer")


@pytest.mark.parametrize(("text", "thought", "answer"), CASES)
def test_whole_and_letter_by_letter_are_the_same(text: str, thought: str, answer: str):
    """Given an answer, when it comes whole or letter by letter, then it is split alike."""
    assert _split([text]) == (thought, answer)
    assert _split(list(text)) == (thought, answer)


@given(st.data())
def test_the_cut_does_not_matter(data: st.DataObject):
    """Given any answer cut anywhere, when it is split, then as if it had come whole."""
    parts = ["<think>", "</think>", "<", "/", "think", ">", " ", "\n", "word", "é"]
    text = "".join(data.draw(st.lists(st.sampled_from(parts), max_size=12)))
    inside = data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert _split(pieces, inside=inside) == _split([text], inside=inside)


def test_a_template_may_open_the_thoughts():
    """Given a prompt that ends with the opening marker, then the answer begins inside."""
    assert begins_inside("<|Assistant|><think>\n")
    assert not begins_inside("<think>old</think> and then")
    assert _split(["why</think>because"], inside=True) == ("why", "because")


def test_templates_tell_whether_a_model_thinks():
    """Given a template, when it handles the closing marker, then its model thinks."""
    assert thinks("{{ content.split('</think>')[-1] }}")
    assert not thinks("{{ content }}")
    assert not thinks(None)
