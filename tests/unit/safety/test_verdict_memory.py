"""Verdicts are remembered for those who sent a text, and for nobody else."""

import pytest

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from zaffre.core.safety import Passage, Verdict
from zaffre.safety.memory import VerdictMemory
from zaffre.safety.passages import prompts_of

GRAVE = Verdict({"hate": "high"})
RULES = Passage("You are a librarian.", "system", owner="key-1")


def test_the_owner_is_told_again():
    """Given a verdict, when its owner sends the passage again, then it is known."""
    memory = VerdictMemory()
    memory.keep(RULES, GRAVE)
    assert memory.recall(RULES) == GRAVE


@pytest.mark.parametrize(
    "other",
    [
        Passage("You are a librarian.", "system", owner="key-2"),
        Passage("You are a librarian.", "system"),
        Passage("You are a librarian.", "assistant", owner="key-1"),
        Passage("You are a librarian!", "system", owner="key-1"),
    ],
)
def test_nobody_else_is(other: Passage):
    """Given a verdict, when another sends it, or the owner something else, it is not known."""
    memory = VerdictMemory()
    memory.keep(RULES, GRAVE)
    assert memory.recall(other) is None


def test_what_belongs_to_nobody_is_not_kept():
    """Given a passage without an owner, when its verdict is kept, then it is not known."""
    memory = VerdictMemory()
    memory.keep(Passage("x", "system"), GRAVE)
    assert memory.recall(Passage("x", "system")) is None


def test_what_was_not_used_for_longest_is_forgotten():
    """Given room for two, when a third comes, then the one that was not asked for is gone."""
    memory = VerdictMemory(size=2)
    one, two, three = (Passage(text, "system", owner="k") for text in ("1", "2", "3"))
    memory.keep(one, GRAVE)
    memory.keep(two, GRAVE)
    memory.recall(one)
    memory.keep(three, GRAVE)
    assert [memory.recall(each) for each in (one, two, three)] == [GRAVE, None, GRAVE]


def test_any_text_can_be_remembered():
    """Given a text that is no Unicode, when its verdict is kept, then it is known."""
    memory, odd = VerdictMemory(), Passage("\ud800", "system", owner="k")
    memory.keep(odd, GRAVE)
    assert memory.recall(odd) == GRAVE


def test_what_users_say_belongs_to_nobody():
    """Given a prompt of a key, when it is read, then the application's own texts are the key's."""
    call = ChatCall(
        (
            SystemMessage("You are a librarian."),
            UserMessage((TextPart("When?"),)),
            AssistantMessage("Tuesdays."),
            ToolMessage("call-1", "Closed."),
        )
    )
    [prompt] = prompts_of(call, owner="key-1")
    owners = {passage.source: passage.owner for passage in prompt.passages}
    assert owners == {"system": "key-1", "assistant": "key-1", "user": "", "tool": ""}
