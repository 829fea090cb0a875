"""An answer as it grows: which window of it is to be judged next, and what of it may leave."""

from collections import deque

from msgspec import Struct

from zaffre.core.deltas import Delta, Finish, ReasoningDelta, TextDelta, ToolCallDelta
from zaffre.core.safety import Passage, Screened
from zaffre.safety.folding import fold
from zaffre.safety.passages import tool_call_text
from zaffre.safety.segments import context_start, next_cut

CONTEXT = 80
"""Characters before a window that are judged with it."""


class _Run(Struct):
    """All text of one kind in one choice."""

    text: str = ""
    judged: int = 0
    """Where the next window begins."""
    scanned: int = 0
    cleared: int = 0
    """Up to where nothing that was found, or could still be found, begins."""


class _Held(Struct, frozen=True):
    delta: Delta
    run: _Run | None = None
    end: int = 0
    """Where its text ends in `run`."""


class GrowingChoice:
    """One choice: its deltas are added, its windows judged, and what is cleared is taken.

    `reach`: see `zaffre.core.safety.Filter.reach`. What is to be judged depends on the texts alone
    and not on the pieces in which they come.
    """

    def __init__(self, index: int, reach: int) -> None:
        self.index = index
        self.screened = Screened()
        """The worst of all its windows."""
        self.closed = False
        """Whether the rest of it is to be dropped."""
        self._reach = reach
        self._answer, self._thoughts = _Run(), _Run()
        self._last: _Run | None = None
        self._held: deque[_Held] = deque()

    def add(self, delta: Delta) -> list[Passage]:
        """Hold `delta`, and say what is to be judged now. Clears it when nothing is."""
        match delta:
            case TextDelta(text=text):
                return self._grow(self._answer, text, delta)
            case ReasoningDelta(text=text):
                return self._grow(self._thoughts, text, delta)
            case ToolCallDelta(call=call):
                self._held.append(_Held(delta))
                return [Passage(tool_call_text(call), "completion")]
            case _:
                windows = self.end()
                self._held.append(_Held(delta))
                self.closed = True
                return windows

    def end(self) -> list[Passage]:
        """What is left to be judged when nothing more will come."""
        return [
            *self._windows(self._thoughts, final=True),
            *self._windows(self._answer, final=True),
        ]

    def take(self) -> list[Delta]:
        """The deltas that may leave, in order. All that `add` named has been judged."""
        leaving = []
        while self._held:
            first = self._held[0]
            if first.run is not None and first.end > first.run.cleared:
                break
            leaving.append(self._held.popleft().delta)
        return leaving

    def close(self) -> Finish:
        """Drop what is held and what is still to come."""
        self.closed = True
        self._held.clear()
        return Finish("content_filter", self.index)

    def _grow(self, run: _Run, text: str, delta: Delta) -> list[Passage]:
        before: list[Passage] = []
        if self._last is not None and self._last is not run:
            before = self._windows(self._last, final=True)  # nothing waits for the other to go on
        self._last = run
        run.text += text
        self._held.append(_Held(delta, run, len(run.text)))
        return [*before, *self._windows(run, final=False)]

    def _windows(self, run: _Run, *, final: bool) -> list[Passage]:
        windows = []
        while (end := next_cut(run.text, run.judged, run.scanned)) is not None:
            windows.append(self._window(run, end))
            run.cleared = max(run.cleared, self._settled(run, end))
        run.scanned = len(run.text)
        if final:
            if run.judged < len(run.text):
                windows.append(self._window(run, len(run.text)))
            run.cleared = len(run.text)
        return windows

    def _window(self, run: _Run, end: int) -> Passage:
        # What is not cleared is judged again: a match that is short enough begins there or later.
        start = context_start(run.text, min(run.judged, run.cleared), CONTEXT)
        run.judged = run.scanned = end
        return Passage(run.text[start:end], "completion")

    def _settled(self, run: _Run, end: int) -> int:
        """Up to where `run.text[:end]` is settled: `reach` folded characters are after it."""
        settled = end
        while self._reach and settled > run.cleared:
            settled = max(run.cleared, settled - self._reach)
            if len(fold(run.text[settled:end])) >= self._reach:
                break
        return settled
