"""Tool calls: told, forced, and found in free text."""

from collections.abc import Callable
from json import loads
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    NamedTool,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.errors import EngineFailed, InvalidParameter
from zaffre.engines.text.schemas import check_schema, resolve
from zaffre.engines.text.tool_calls import (
    MAX_CALLS,
    MAX_HELD,
    ToolCallSplitter,
    call_ids,
    call_schema,
    check_tools,
    read_calls,
    spell_out,
    writes_calls_so,
)

WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = Tool("clock", {}, "What time it is.")
ASKED = UserMessage((TextPart("Is it raining?"),))
CALL = '{"name": "get_weather", "arguments": {"city": "Oslo {}\\""}}'
READ = ("get_weather", '{"city": "Oslo {}\\""}')


def _ids(seed: int = 1) -> Callable[[], str]:
    return call_ids(Random(seed))  # noqa: S311 - no secret


def _split(text: str, sizes: list[int], *, parallel: bool = True) -> list[str | tuple[str, str]]:
    """What a splitter makes of `text` in pieces of these sizes, with adjoining texts joined."""
    splitter = ToolCallSplitter([WEATHER, CLOCK], _ids(), parallel=parallel)
    found, at = [], 0
    for size in [*sizes, len(text)]:
        found += splitter.push(text[at : at + size])
        at += size
    found += splitter.close()
    plain = [piece if isinstance(piece, str) else (piece.name, piece.arguments) for piece in found]
    joined: list[str | tuple[str, str]] = []
    for piece in plain:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


FOUND: dict[str, tuple[str, list[str | tuple[str, str]]]] = {
    "tags": (f"<tool_call>\n{CALL}\n</tool_call>", [READ]),
    "tags without lines": (f"<tool_call>{CALL}</tool_call>", [READ]),
    "two calls": (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>\n", [READ, READ]),
    "text, then a call": (f"Let me see.\n<tool_call>{CALL}</tool_call>", ["Let me see.", READ]),
    "a call, then text": (f"<tool_call>{CALL}</tool_call>\nDone.", [READ, "\nDone."]),
    "no closing tag": (f"<tool_call>{CALL}", [READ]),
    "a fenced block": (f"```json\n{CALL}\n```", [READ]),
    "a fence without a word": (f"Sure:\n```\n{CALL}\n```\n", ["Sure:", READ]),
    "bare JSON": (CALL, [READ]),
    "a bare list": (f"[{CALL}, {CALL}]", [READ, READ]),
    "parameters": ('{"name": "clock", "parameters": {}}', [("clock", "{}")]),
    "arguments as text": ('{"name": "clock", "arguments": "{}"}', [("clock", "{}")]),
    "OpenAI's shape": (
        '{"type": "function", "function": {"name": "clock", "arguments": {}}}',
        [("clock", "{}")],
    ),
    "no arguments in tags": ('<tool_call>{"name": "clock"}</tool_call>', [("clock", "{}")]),
}
TEXT = {
    "words": "It is  raining.\n",
    "white space": " \n",
    "a comparison": "a <b and <tool",
    "an unknown tool": '<tool_call>{"name": "delete", "arguments": {}}</tool_call>',
    "broken JSON in tags": "<tool_call> {'name': 'clock'} </tool_call>",
    "half a call": '<tool_call>{"name": "clock", "argu',
    "other JSON": '{"title": "x", "name": "clock", "arguments": {}}',
    "a list of numbers": "[1, 2]",
    "an empty object": "{}",
    "JSON after words": f"I would say {CALL}",
    "no arguments, no tags": '{"name": "clock"}',
    "arguments that are a list": '{"name": "clock", "arguments": []}',
    "code": "```python\nprint({})\n```\n",
    "a backtick": "`clock`",
    "nesting beyond reason": '{"name": ' + "[" * 20_000,
}


@pytest.mark.parametrize(("text", "expected"), FOUND.values(), ids=FOUND)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_a_call_is_found_however_it_arrives(text: str, expected: list[Any], size: int):
    """Given an answer with calls, when it comes in pieces, then each call comes out whole."""
    assert _split(text, [size] * (len(text) // size)) == expected


@pytest.mark.parametrize("text", TEXT.values(), ids=TEXT)
def test_what_is_no_call_is_text(text: str):
    """Given an answer without calls, when it comes in pieces, then all of it is text."""
    assert _split(text, [3] * 200) == [text]


@given(st.text('ab<tool_cal>/{}[]"`:, \n', max_size=60), st.lists(st.integers(1, 9)))
def test_pieces_do_not_matter(text: str, sizes: list[int]):
    """Given any text, when it is cut anywhere, then the same comes out as when it is whole."""
    assert _split(text, sizes) == _split(text, [])


def test_text_passes_at_once():
    """Given words, when they come, then they are not held back until the end."""
    splitter = ToolCallSplitter([CLOCK], _ids())
    assert splitter.push("It is") == ["It is"]
    assert splitter.push(" ten < eleven") == [" ten < eleven"]


def test_one_call_is_enough_without_parallel_calls():
    """Given two calls, when only one is wanted, then the second is not read, nor what follows."""
    text = f"<tool_call>{CALL}</tool_call><tool_call>{CALL}</tool_call> and so on"
    assert _split(text, [7] * 40, parallel=False) == [READ]


def test_calls_have_a_bound():
    """Given more calls than anybody makes, when they come, then reading ends at the bound."""
    assert _split(f"<tool_call>{CALL}</tool_call>" * (MAX_CALLS + 3), []) == [READ] * MAX_CALLS


def test_a_call_that_never_ends_is_let_through():
    """Given a call that grows beyond the bound, when it comes, then it becomes text."""
    endless = '{"name": "clock", "arguments": {"a": "' + "x" * MAX_HELD
    splitter = ToolCallSplitter([CLOCK], _ids())
    assert "".join(str(piece) for piece in splitter.push(endless)) == endless


def test_ids_come_from_the_randomness():
    """Given the same randomness, when ids are drawn, then they are the same, and well-formed."""
    first, second = _ids(5), _ids(5)
    drawn = [first(), first()]
    assert drawn == [second(), second()]
    assert len(set(drawn)) == 2
    assert all(len(bytes.fromhex(text.removeprefix("call_"))) == 12 for text in drawn)


# --- forcing ---------------------------------------------------------------------------------


def _call(*tools: Tool, choice: Any = "required", parallel: bool = True) -> ChatCall:
    return ChatCall((ASKED,), tools=tools, tool_choice=choice, parallel_tool_calls=parallel)


def test_a_named_tool_is_the_only_one():
    """Given a named choice, when the schema is made, then it describes one call of that tool."""
    schema = call_schema(_call(WEATHER, CLOCK, choice=NamedTool("get_weather")))
    assert schema["properties"]["name"] == {"const": "get_weather"}
    assert schema["properties"]["arguments"] == WEATHER.parameters


def test_required_tools_are_alternatives():
    """Given several tools, when one is required, then the schema offers all, as often as wanted."""
    assert len(call_schema(_call(WEATHER, CLOCK, parallel=False))["anyOf"]) == 2
    many = call_schema(_call(WEATHER, CLOCK))
    assert (many["minItems"], many["maxItems"]) == (1, MAX_CALLS)


@pytest.mark.parametrize("parameters", [{}, {"type": "object", "properties": {}}])
def test_no_parameters_are_no_arguments(parameters: dict[str, Any]):
    """Given a tool without parameters, when it is forced, then its arguments are empty."""
    schema = call_schema(_call(Tool("clock", parameters), parallel=False))
    assert schema["properties"]["arguments"] == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize("parallel", [True, False])
def test_references_in_parameters_still_lead_home(parallel: bool):
    """Given parameters that refer to their parts, when they move, then the references do, too."""
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "name": {"$ref": "#/$defs/name"}},
        "required": ["$ref"],
        "$defs": {"name": {"type": "string"}},
    }
    schema = call_schema(_call(CLOCK, Tool("grow", tree), parallel=parallel))
    check_schema(schema, ("tools",))
    item = schema["items"] if parallel else schema
    moved = item["anyOf"][1]["properties"]["arguments"]
    assert resolve(schema, moved["properties"]["left"]["$ref"]) == moved
    assert resolve(schema, moved["properties"]["name"]["$ref"]) == {"type": "string"}
    assert moved["required"] == ["$ref"]


def test_forced_calls_are_read_and_equal_ones_are_one():
    """Given a forced answer, when it is read, then its arguments are the model's, to the byte."""
    answer = '[{"name": "a", "arguments": {"x":  1e3}}, {"name": "b", "arguments": {}},'
    answer += ' {"name": "b", "arguments": {}}]'
    calls = read_calls(answer, _ids())
    assert [(call.name, call.arguments) for call in calls] == [("a", '{"x":  1e3}'), ("b", "{}")]


def test_an_answer_outside_the_schema_is_the_engines_fault():
    """Given an answer that was cut, when it is read, then the engine is to blame."""
    with pytest.raises(EngineFailed):
        read_calls('[{"name": "a", "argu', _ids())


@pytest.mark.parametrize(
    ("call", "location"),
    [
        (_call(CLOCK, choice=NamedTool("other")), ("tool_choice",)),
        (_call(CLOCK, Tool("bad", {"type": "text"})), ("tools", 1, "function", "parameters")),
    ],
)
def test_tools_that_cannot_be_called_are_refused(call: ChatCall, location: tuple[str | int, ...]):
    """Given tools or a choice that make no sense, when they are checked, then that is said."""
    with pytest.raises(InvalidParameter) as refusal:
        check_tools(call)
    assert refusal.value.location == location


# --- telling ---------------------------------------------------------------------------------


def test_tools_are_told_in_the_system_message():
    """Given a template without tools, when the call is spelled out, then each tool is described."""
    told = spell_out(ChatCall((SystemMessage("Be brief."), ASKED), tools=(WEATHER, CLOCK)))
    assert len(told) == 2
    assert isinstance(told[0], SystemMessage)
    assert told[0].text.startswith("Be brief.\n\n")
    lines = told[0].text.partition("<tools>\n")[2].partition("\n</tools>")[0].splitlines()
    assert [loads(line)["function"]["name"] for line in lines] == ["get_weather", "clock"]


def test_tools_that_must_not_be_called_are_not_told():
    """Given the choice `none`, when the call is spelled out, then it stays as it is."""
    assert spell_out(ChatCall((ASKED,), tools=(CLOCK,), tool_choice="none")) == (ASKED,)


def test_earlier_calls_and_results_become_text():
    """Given a dialogue with tools, when it is spelled out, then only plain roles are left."""
    calls = (ToolCall("c1", "clock", ""), ToolCall("c2", "get_weather", '{"city": "Oslo"}'))
    messages = (
        ASKED,
        AssistantMessage("", calls),
        ToolMessage("c1", "10"),
        ToolMessage("c2", "wet"),
    )
    user, assistant, results = spell_out(ChatCall(messages))
    assert user == ASKED
    assert isinstance(assistant, AssistantMessage)
    assert _split(assistant.text, []) == [("clock", "{}"), ("get_weather", '{"city": "Oslo"}')]
    assert isinstance(results, UserMessage)
    assert [part.text for part in results.parts if isinstance(part, TextPart)] == [
        "<tool_response>\n10\n</tool_response>",
        "<tool_response>\nwet\n</tool_response>",
    ]


@pytest.mark.parametrize(
    ("template", "so"),
    [
        ('XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args>}', True),
        (r"XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args>}", True),
        ('{{- \'<tool_call>\\n{"name": "\' + call.function.name }}', True),
        ("<tool_call>\n<function=example>\n<parameter=x>", False),
        ("<tool_call>{function-name}\n<arg_key>{key}</arg_key>", False),
        ('[TOOL_CALLS] [{"name": "x"}]', False),
    ],
)
def test_a_template_tells_how_its_model_writes_calls(template: str, so: bool):
    """Given a template with tools, then it is known whether calls come in our notation."""
    assert writes_calls_so(template) is so
