"""Answers that are nothing but tool calls, as they come in pieces."""

import json

import pytest

from zaffre.core.deltas import Finish, FinishReason, ToolCallDelta
from zaffre.engines.text.choices import CallChoice

PARIS = {"name": "get_weather", "arguments": {"city": "Paris", "at": {"hour": 1}}}
OSLO = {"name": "get_weather", "arguments": {"city": "Oslo {}"}}


def _read(text: str) -> tuple[CallChoice, str]:
    """The choice after `text` has come letter by letter, and what it had no need for."""
    ids = iter(f"call_{number}" for number in range(1000))
    choice = CallChoice(0, lambda: next(ids))
    for at, letter in enumerate(text):
        assert choice.push(letter, ()) == []
        if choice.ended:
            return choice, text[at + 1 :]
    return choice, ""


def _calls(choice: CallChoice, reason: FinishReason = "stop") -> list[dict[str, object]]:
    *made, finish = choice.close(reason)
    assert finish == Finish("tool_calls", 0)
    assert all(isinstance(delta, ToolCallDelta) for delta in made)
    return [{"name": d.call.name, "arguments": json.loads(d.call.arguments)} for d in made]


@pytest.mark.parametrize("said", [[PARIS], [PARIS, OSLO], [OSLO, PARIS]])
def test_different_calls_are_all_made(said: list[dict[str, object]]):
    """Given a list of different calls, when it has come, then all of them are made, in order."""
    choice, rest = _read(json.dumps(said))
    assert rest == ""
    assert not choice.ended
    assert _calls(choice) == said


def test_a_model_that_repeats_itself_is_stopped():
    """Given a call that comes again, when it is complete, then nothing more is wanted, and what
    came before is made once."""
    choice, rest = _read(json.dumps([PARIS, OSLO, PARIS, PARIS, PARIS]))
    assert choice.ended
    assert json.loads("[" + rest.lstrip(", ")) == [PARIS, PARIS]
    assert _calls(choice) == [PARIS, OSLO]


def test_a_single_call_is_no_list():
    """Given one call that is not in a list, when it has come, then it is made."""
    choice, _ = _read(json.dumps(PARIS))
    assert _calls(choice) == [PARIS]


def test_a_call_that_was_cut_off_is_not_made():
    """Given an answer that reached its bound, when it is closed, then it has no call."""
    choice, _ = _read(json.dumps([PARIS])[:20])
    assert choice.close("length") == [Finish("length", 0)]


@pytest.mark.parametrize("cut", [2, len(json.dumps(OSLO)) // 2, len(json.dumps(OSLO)) + 1])
def test_calls_before_the_one_that_was_cut_off_are_made(cut: int):
    """Given an answer that reached its bound after a whole call, then that call is made."""
    said = json.dumps([PARIS, OSLO])
    choice, _ = _read(said[:-cut])
    assert _calls(choice, "length") == [PARIS]


@pytest.mark.parametrize(
    ("said", "calls"),
    [
        (json.dumps(PARIS), [PARIS]),
        (" " + json.dumps([PARIS, OSLO]), [PARIS, OSLO]),
        (json.dumps([PARIS, OSLO])[:-1], [PARIS, OSLO]),
    ],
)
def test_a_bound_right_after_a_call_takes_nothing_away(said: str, calls: list[object]):
    """Given an answer that reached its bound between calls or at its end, then all are made."""
    choice, _ = _read(said)
    assert _calls(choice, "length") == calls
