"""What an answer must look like, by what the call asks for."""

import pytest

from zaffre.core.calls import ChatCall, JsonSchema, NamedTool, TextPart, Tool, UserMessage
from zaffre.core.errors import InvalidParameter
from zaffre.engines.text.answer_forms import answer_schema, must_call
from zaffre.engines.text.schemas import RESPONSE_SCHEMA

SAID = (UserMessage((TextPart("hello"),)),)
TOOL = Tool("look_up", {"type": "object", "properties": {"word": {"type": "string"}}})
TEXT = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("call", "form"),
    [
        (ChatCall(SAID), None),
        (ChatCall(SAID, tools=(TOOL,)), None),
        (ChatCall(SAID, tools=(TOOL,), tool_choice="none"), None),
        (ChatCall(SAID, format=JsonSchema("x", TEXT)), (TEXT, RESPONSE_SCHEMA)),
    ],
)
def test_free_text_has_no_form_and_a_schema_is_its_own(call: ChatCall, form: object):
    """Given a call, when its answer's form is asked for, then it is free or the client's schema."""
    assert answer_schema(call, None) == form
    assert not must_call(call)


@pytest.mark.parametrize("choice", ["required", NamedTool("look_up")])
def test_a_call_that_must_be_made_has_the_form_of_a_call(choice: object):
    """Given a tool that must be called, when the form is asked for, then it is a call's, and it
    counts more than the format of the text."""
    call = ChatCall(SAID, tools=(TOOL,), tool_choice=choice, format="json_object")
    form = answer_schema(call, None)
    assert must_call(call)
    assert form is not None
    assert form[1] == ("tools",)
    assert "look_up" in str(form[0])


def test_the_bound_of_a_small_model_goes_into_the_form():
    """Given a card's bound, when a schema has none, then the form has the card's."""
    form = answer_schema(ChatCall(SAID, format=JsonSchema("x", TEXT)), 40)
    assert form is not None
    assert form[0]["properties"]["a"]["maxLength"] == 40


def test_a_schema_beyond_the_bounds_is_refused_at_its_place():
    """Given a schema that is nested too deeply, when its form is asked for, then it is refused."""
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InvalidParameter) as refused:
        answer_schema(ChatCall(SAID, format=JsonSchema("x", deep)), None)
    assert refused.value.location == RESPONSE_SCHEMA
