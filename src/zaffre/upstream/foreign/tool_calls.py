"""Tool calls of other people's servers: fragments put together, however they are numbered."""

from collections.abc import Sequence

from msgspec import Struct

from zaffre.core.errors import EngineFailed
from zaffre.upstream.foreign.wire import ForeignCall
from zaffre.wire import codec
from zaffre.wire.chat import FunctionCall, ToolCallBody

MAX_CALLS = 512
"""Per choice."""


class _Gathered(Struct):
    number: int | None
    """Its own number, where its server numbers calls."""
    id: str
    name: str
    pieces: list[str]


class CallCollector:
    """Gathers the fragments of each choice's tool calls.

    A fragment belongs to the call of its `index`, and without one to the latest. It begins another
    call when it has a name of its own and another id, whatever its index: some servers number all
    calls 0, and some give each fragment a new id.
    """

    def __init__(self) -> None:
        self._calls: dict[int, list[_Gathered]] = {}

    def add(self, choice: int, fragments: Sequence[ForeignCall]) -> int:
        """Take in what a chunk brings; bytes of text in it. Raises `EngineFailed`."""
        added = 0
        for fragment in fragments:
            calls = self._calls.setdefault(choice, [])
            call = self._owner(calls, fragment)
            if call is None:
                if len(calls) >= MAX_CALLS:
                    raise EngineFailed(f"The model made more than {MAX_CALLS} tool calls.")
                call = _Gathered(fragment.index, "", "", [])
                calls.append(call)
            added += _put(call, fragment)
        return added

    def whole(self, choice: int) -> list[ToolCallBody]:
        """The calls of a choice that has ended. Raises `EngineFailed` for one without a name."""
        bodies = []
        for position, call in enumerate(self._calls.pop(choice, ())):
            if not call.name:
                raise EngineFailed("The model's server sent a tool call without a name.")
            function = FunctionCall(call.name, "".join(call.pieces) or "{}")
            bodies.append(
                ToolCallBody(position, call.id or f"call_{position}", "function", function)
            )
        return bodies

    @staticmethod
    def _owner(calls: list[_Gathered], fragment: ForeignCall) -> _Gathered | None:
        if fragment.index is None:
            found = calls[-1] if calls else None
        else:
            found = next((c for c in reversed(calls) if c.number == fragment.index), None)
        name = fragment.function.name if fragment.function else None
        if found is None or not name or not found.name:
            return found
        if fragment.id:
            return found if fragment.id == found.id else None
        return None if fragment.index is None else found


def _put(call: _Gathered, fragment: ForeignCall) -> int:
    call.id = call.id or fragment.id or ""
    function = fragment.function
    if function is None:
        return 0
    added = 0
    if function.name and not call.name:
        call.name, added = function.name, len(function.name.encode())
    arguments = function.arguments
    if isinstance(arguments, dict):
        arguments = codec.encode(arguments).decode()
    if arguments:
        call.pieces.append(arguments)
        added += len(arguments.encode())
    return added
