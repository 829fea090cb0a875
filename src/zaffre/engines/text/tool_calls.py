"""Tool calls around models that know nothing of them: how tools are told, and calls are read.

The notation is the one of the Hermes models, which many others were trained on:
`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.
"""

import re
from collections.abc import Callable, Sequence
from json import dumps
from random import Random
from typing import Any

from msgspec import DecodeError, MsgspecError, Raw, Struct, field
from msgspec.json import decode

from zaffre.core.calls import (
    AssistantMessage,
    ChatCall,
    Message,
    NamedTool,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from zaffre.core.errors import EngineFailed, InvalidParameter
from zaffre.engines.text.schemas import (
    SCHEMA_KEYS,
    SCHEMA_LIST_KEYS,
    SCHEMA_MAP_KEYS,
    check_schema,
    tool_schema,
)
from zaffre.engines.text.text_stream import overlap

MAX_CALLS = 8
"""Calls in one answer; what a model writes beyond them is not read."""
MAX_HELD = 64 * 1024
"""Characters that are held back because they may be a call; longer ones are text."""

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
_FENCE = "```"
_FENCE_WORDS = ("json", "tool_call")
_FIRST_KEYS = ("name", "arguments", "parameters", "function", "type", "id")
"""Keys that an object which is a call may begin with; other JSON is let through at once."""


_NOTATION = re.compile(CALL_OPEN + r"""(?:\s|\\n)*\{\\?["']name""")


def writes_calls_so(chat_template: str) -> bool:
    """Whether a template with a place for tools asks for calls in the notation of this module."""
    return _NOTATION.search(chat_template) is not None


def check_tools(call: ChatCall) -> None:
    """Hold the tools that `call` offers against the bounds of schemas, and its choice against them.

    Raises `InvalidParameter`.
    """
    if call.tool_choice == "none":
        return
    for position, tool in enumerate(call.tools):
        check_schema(tool.parameters, tool_schema(position))
    choice = call.tool_choice
    if isinstance(choice, NamedTool) and all(tool.name != choice.name for tool in call.tools):
        raise InvalidParameter(
            ("tool_choice",), choice.name, f"There is no tool called '{choice.name}'."
        )


def call_ids(source: Random) -> Callable[[], str]:
    """A maker of ids for tool calls, `call_` and 24 hex digits each, drawn from `source`."""
    return lambda: f"call_{source.getrandbits(96):024x}"


# --- telling the model -------------------------------------------------------------------------


def describe_tools(tools: Sequence[Tool]) -> str:
    """Instructions for a model whose chat template has no place for tools."""
    listed = "\n".join(_compact(function_object(tool)) for tool in tools)
    return (
        "You can call functions. These are the functions, one JSON object on each line:\n"
        f"<tools>\n{listed}\n</tools>\n"
        "To call a function, answer with its name and its arguments in this form and nothing"
        f' else:\n{CALL_OPEN}\n{{"name": "the function", "arguments": {{...}}}}\n{CALL_CLOSE}\n'
        "The result comes back inside <tool_response> tags. When no function fits, answer in"
        " plain text."
    )


def function_object(tool: Tool) -> dict[str, Any]:
    """The tool as chat templates take it: `{"type": "function", "function": {...}}`."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def spell_out(call: ChatCall) -> tuple[Message, ...]:
    """The messages of `call` for a template that has neither tools nor the role `tool`.

    Tools become part of the system message, earlier calls text of the assistant, and their results
    text of the user.
    """
    spelled: list[Message] = []
    for message in call.messages:
        match message:
            case SystemMessage() | UserMessage():
                spelled.append(message)
            case AssistantMessage():
                calls = [_call_text(made) for made in message.tool_calls]
                text = "\n".join([message.text, *calls] if message.text else calls)
                spelled.append(AssistantMessage(text))
            case ToolMessage():
                part = TextPart(f"<tool_response>\n{message.text}\n</tool_response>")
                last = spelled[-1] if spelled else None
                if isinstance(last, UserMessage) and _is_response(last):
                    spelled[-1] = UserMessage((*last.parts, part))
                else:
                    spelled.append(UserMessage((part,)))
    if call.tools and call.tool_choice != "none":
        told = describe_tools(call.tools)
        if spelled and isinstance(spelled[0], SystemMessage):
            spelled[0] = SystemMessage(f"{spelled[0].text}\n\n{told}")
        else:
            spelled.insert(0, SystemMessage(told))
    return tuple(spelled)


def _is_response(message: UserMessage) -> bool:
    first = message.parts[0] if message.parts else None
    return isinstance(first, TextPart) and first.text.startswith("<tool_response>\n")


def _call_text(call: ToolCall) -> str:
    arguments = call.arguments.strip() or "{}"
    return f'{CALL_OPEN}\n{{"name": {_compact(call.name)}, "arguments": {arguments}}}\n{CALL_CLOSE}'


def _compact(value: object) -> str:
    return dumps(value, ensure_ascii=False, separators=(", ", ": "))


# --- forcing a call ----------------------------------------------------------------------------


def call_schema(call: ChatCall) -> dict[str, Any]:
    """The JSON Schema of the answer to a call whose `tool_choice` is `required` or a named tool.

    One object `{"name": ..., "arguments": ...}`, or for `required` with parallel calls a list of 1
    to `MAX_CALLS` of them. Read the answer with `read_calls`.
    """
    choice = call.tool_choice
    tools = [t for t in call.tools if not isinstance(choice, NamedTool) or t.name == choice.name]
    many = call.parallel_tool_calls and not isinstance(choice, NamedTool)
    base = "#/items" if many else "#"
    if len(tools) == 1:
        item = _one_call(tools[0], base)
    else:
        item = {"anyOf": [_one_call(t, f"{base}/anyOf/{at}") for at, t in enumerate(tools)]}
    if not many:
        return item
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_CALLS}


def read_calls(answer: str, new_id: Callable[[], str]) -> tuple[ToolCall, ...]:
    """The calls in a complete answer that was decoded under `call_schema`.

    Equal calls are one: small models that may go on repeat themselves. Raises `EngineFailed` when
    the answer is not what the schema describes.
    """
    try:
        written = decode(answer, type=_Written | list[_Written])
    except DecodeError as error:
        raise EngineFailed("The engine left the schema of the tool call.") from error
    several = written if isinstance(written, list) else [written]
    calls = dict.fromkeys((one.name, bytes(one.arguments).decode()) for one in several)
    return tuple(ToolCall(new_id(), name, arguments) for name, arguments in calls)


def read_whole_calls(answer: str, new_id: Callable[[], str]) -> tuple[ToolCall, ...]:
    """The calls that are complete in an answer under `call_schema` that was cut off anywhere."""
    text = answer.lstrip()
    many = text.startswith("[")
    end, begin = None, int(many)
    while (end_of_call := _JsonExtent().end(text, begin)) is not None:
        end = begin = end_of_call
    return () if end is None else read_calls(text[:end] + "]" * many, new_id)


_TAKES_NOTHING = frozenset({"type", "properties", "required", "title", "description", "$schema"})
"""Keywords of a schema for a function without parameters, where `properties` is empty."""


def _one_call(tool: Tool, place: str) -> dict[str, Any]:
    parameters = tool.parameters
    if not parameters.keys() - _TAKES_NOTHING and not parameters.get("properties"):
        # The contract (section 4.1): missing parameters are an empty list of them.
        parameters = {"type": "object", "additionalProperties": False}
    return {
        "type": "object",
        "properties": {
            "name": {"const": tool.name},
            "arguments": _moved(parameters, f"{place}/properties/arguments"),
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:  # noqa: ANN401 - a schema may be a boolean
    """A copy of a schema, with its references right for the place where it now stands."""
    if not isinstance(schema, dict):
        return schema
    copy: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            copy[key] = place + value[1:]
        elif key in SCHEMA_KEYS:
            copy[key] = _moved(value, place)
        elif key in SCHEMA_LIST_KEYS:
            copy[key] = [_moved(item, place) for item in value]
        elif key in SCHEMA_MAP_KEYS:
            copy[key] = {name: _moved(item, place) for name, item in value.items()}
        elif key not in {"$id", "$schema"}:
            copy[key] = value
    return copy


class _Written(Struct):
    """A call as the model wrote it; the arguments stay as they are, to the byte."""

    name: str
    arguments: Raw = field(default_factory=lambda: Raw(b"{}"))


# --- finding calls in free text ----------------------------------------------------------------


class ToolCallSplitter:
    """Splits an answer that comes in pieces into text and whole tool calls.

    A call is what stands inside `<tool_call>` tags, in a fenced block of JSON, or at the very
    beginning of the answer as bare JSON, and names one of `tools`. Text that may still turn out to
    be the beginning of a call is held back; everything else passes at once. White space around
    calls is dropped.
    """

    def __init__(
        self, tools: Sequence[Tool], new_id: Callable[[], str], *, parallel: bool = True
    ) -> None:
        self._names = frozenset(tool.name for tool in tools)
        self._new_id = new_id
        self._most = MAX_CALLS if parallel else 1
        self._held = ""
        self._value = _JsonExtent()
        self._begun = False
        self.found = 0
        """Calls found so far."""

    @property
    def full(self) -> bool:
        """Whether no more calls will be read, so that the generation may end."""
        return self.found >= self._most

    def push(self, text: str) -> list[str | ToolCall]:
        """What is certain now, in order: text or whole calls."""
        self._held += text
        return self._drain(final=False)

    def close(self) -> list[str | ToolCall]:
        """What is left, now that no more text comes."""
        pieces = self._drain(final=True)
        if self._held and not self.found:
            pieces.append(self._held)
        self._held = ""
        return pieces

    def _drain(self, *, final: bool) -> list[str | ToolCall]:
        pieces: list[str | ToolCall] = []
        while self._held and not self.full:
            text = self._held[: self._opening()].rstrip()
            if text:
                self._give(len(text), pieces)
            blank = len(self._held) - len(self._held.lstrip())
            if blank == len(self._held):
                break
            length = self._read_at(blank, pieces, final=final)
            if length is None:
                break
            self._value = _JsonExtent()
            if length > 0:
                self._held = self._held[blank + length :]
            else:
                self._give(blank - length, pieces)
        if self.full:
            self._held = ""
        return pieces

    def _give(self, length: int, pieces: list[str | ToolCall]) -> None:
        self._begun = True
        pieces.append(self._held[:length])
        self._held = self._held[length:]

    def _opening(self) -> int:
        """Where in the held text a call may begin; its length when nowhere."""
        held = self._held
        if not self._begun and not self.found and held.lstrip()[:1] in {"{", "["}:
            return len(held) - len(held.lstrip())
        return min(_find_or_overlap(held, mark) for mark in (CALL_OPEN, _FENCE))

    def _read_at(self, at: int, pieces: list[str | ToolCall], *, final: bool) -> int | None:
        """Read the call that may begin at `at`.

        The length of what was read; `None` when more text is needed; when there is no call, minus
        the length of the text that can be let through.
        """
        opening = _read_opening(self._held, at)
        if opening is None:
            return -1 if final else None
        start, closing = opening
        refused = -max(1, start - at)
        end = self._value.end(self._held, start) if _may_be_call(self._held, start) else -1
        if end == -1:
            return refused
        if end is None:
            return refused if final or len(self._held) - at > MAX_HELD else None
        after = _skip_closing(self._held, end, closing)
        if after is None and not final:
            return None
        calls = _parse(self._held[start:end], self._names, tagged=closing == CALL_CLOSE)
        if not calls:
            return refused
        for name, arguments in calls[: self._most - self.found]:
            pieces.append(ToolCall(self._new_id(), name, arguments))
            self.found += 1
        return (after if after is not None else len(self._held)) - at


class _JsonExtent:
    """Finds where a JSON object or list ends in a growing text; looks at no character twice."""

    def __init__(self) -> None:
        self._at, self._depth, self._quoted = -1, 0, False
        self._end: int | None = None

    def end(self, text: str, start: int) -> int | None:
        """The place after the value that begins at `start`; `None` while it is not complete."""
        at = start if self._at < 0 else self._at
        while self._end is None and (
            mark := (_IN_STRING if self._quoted else _OUTSIDE).search(text, at)
        ):
            if mark[0] == "\\" and mark.end() == len(text):
                break
            at = mark.end() + (mark[0] == "\\")
            if mark[0] == '"':
                self._quoted = not self._quoted
            elif mark[0] in "{[":
                self._depth += 1
            elif mark[0] in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._end = at
        else:
            at = len(text)
        self._at = at
        return self._end


_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_FIRST_KEY = re.compile(r'\[?\s*\{\s*(?:"(\w*)("?))?')


def _find_or_overlap(text: str, mark: str) -> int:
    at = text.find(mark)
    return at if at >= 0 else len(text) - overlap(text, mark)


def _read_opening(text: str, at: int) -> tuple[int, str] | None:
    """Where the JSON of a call that opens at `at` begins, and how the call closes.

    `None` when that cannot be told yet.
    """
    rest = text[at:]
    if rest[0] in "{[":
        return at, ""
    for mark, closing, words in ((CALL_OPEN, CALL_CLOSE, ()), (_FENCE, _FENCE, _FENCE_WORDS)):
        if mark.startswith(rest):
            return None
        if not rest.startswith(mark):
            continue
        inner = rest[len(mark) :]
        if any(word.startswith(inner) for word in words):
            return None
        word = next((w for w in words if inner.startswith(w)), "")
        value = inner[len(word) :].lstrip()
        return (len(text) - len(value), closing) if value else None
    return at, ""


def _may_be_call(text: str, start: int) -> bool:
    """Whether the text at `start` begins like the JSON of a call, as far as it goes."""
    key = _FIRST_KEY.match(text, start)
    if key is None:
        return text[start] == "[" and not text[start + 1 :].strip()
    name, complete = key[1], key[2]
    if not name:
        return not complete and not text[key.end() :].strip()
    if complete:
        return name in _FIRST_KEYS
    return key.end() == len(text) and any(known.startswith(name) for known in _FIRST_KEYS)


def _skip_closing(text: str, at: int, closing: str) -> int | None:
    """The place after the closing mark, if it is there; `None` when that cannot be told yet."""
    rest = text[at:].lstrip()
    if not closing:
        return at
    if closing.startswith(rest) and rest != closing:
        return None
    return len(text) - len(rest) + len(closing) if rest.startswith(closing) else at


def _parse(text: str, names: frozenset[str], *, tagged: bool) -> list[tuple[str, str]]:
    """Name and arguments of each call in a JSON text; none when any part of it is no call."""
    try:
        found = decode(text, type=dict[str, Raw] | list[dict[str, Raw]])
        several = found if isinstance(found, list) else [found]
        return [_parse_one(one, names, tagged=tagged) for one in several]
    except (MsgspecError, RecursionError, UnicodeError):
        return []


def _parse_one(written: dict[str, Raw], names: frozenset[str], *, tagged: bool) -> tuple[str, str]:
    if "function" in written and "name" not in written:
        return _parse_one(decode(written["function"], type=dict[str, Raw]), names, tagged=tagged)
    name = decode(written.get("name", b"null"), type=str)
    default = b"{}" if tagged else b"null"
    arguments = bytes(written.get("arguments", written.get("parameters", default)))
    if arguments.startswith(b'"'):
        arguments = decode(arguments, type=str).encode()
    decode(arguments, type=dict[str, Raw])
    if name not in names:
        raise DecodeError(name)
    return name, arguments.decode()
