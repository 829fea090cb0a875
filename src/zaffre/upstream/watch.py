"""Whether one upstream is to be asked: what its last calls were like, and when it may come back."""

import math
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from zaffre.core.errors import ModelUnavailable, ModelUnreachable, Overloaded, ZaffreError

WatchState = Literal["ready", "ejected", "waiting", "probing"]


class WatchRules(Struct, frozen=True, kw_only=True):
    """When an upstream is taken out, and for how long."""

    failures: int = 3
    """Consecutive ones that take it out."""
    ejection_s: float = 5.0
    """The first time; it doubles each time until an answer has come whole."""
    max_ejection_s: float = 300.0
    """Also the longest that its own `Retry-After` counts."""


class Watch:
    """The judgement of one upstream.

    `ready` until it has failed too often in a row (`ejected`) or has asked for time (`waiting`).
    When that time is over, one call goes through (`probing`): its first sign of an answer lets
    others follow, its failure takes the upstream out again for longer.
    """

    def __init__(self, rules: WatchRules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._out_until: float | None = None
        self._asked_for_time = False
        self._ejections = 0
        self._probing = False
        self.failures = 0
        """In a row, up to now."""
        self.cause = ""
        """Of the last failure; empty once an answer has come whole."""

    @property
    def state(self) -> WatchState:
        """What is the case now; `probing` also when a call may try, and none does yet."""
        if self._out_until is None:
            return "ready"
        if self.out_for_s > 0:
            return "waiting" if self._asked_for_time else "ejected"
        return "probing"

    @property
    def out_for_s(self) -> float:
        """Seconds until it may be asked again; 0 when it may be now."""
        return 0.0 if self._out_until is None else max(0.0, self._out_until - self._clock())

    @property
    def admits(self) -> bool:
        """Whether a call may go there now."""
        return self._out_until is None or (self.out_for_s == 0 and not self._probing)

    def begin(self) -> bool:
        """A call goes there; whether it is the one that tries."""
        if self._out_until is None:
            return False
        self._probing = True
        return True

    def answered(self, *, trying: bool) -> None:
        """A call has had a first piece of its answer, or a refusal that shows it was read."""
        if trying:
            self._out_until, self._probing = None, False

    def succeeded(self, *, trying: bool) -> None:
        """A call has had its whole answer. One that began before an ejection proves nothing."""
        self.answered(trying=trying)
        if self._out_until is None:
            self.failures, self._ejections, self.cause = 0, 0, ""

    def left(self, *, trying: bool) -> None:
        """A call was given up from this side: nothing is known."""
        if trying:
            self._probing = False

    def failed(self, error: ZaffreError, *, trying: bool) -> bool:
        """A call has failed for the upstream's fault; whether that takes it out."""
        self.cause = error.message
        out = self._out_until is not None
        if trying:
            self._probing = False
        # Without a connection it has asked for nothing: those seconds are ours.
        asked = isinstance(error, Overloaded | ModelUnavailable)
        told = asked and not isinstance(error, ModelUnreachable)
        wanted_s = error.retry_after_s if told else None
        if not isinstance(error, Overloaded):
            self.failures += 1
        if wanted_s is not None:
            self._take_out(wanted_s, asked=True)
            return True
        if isinstance(error, Overloaded):
            # It is alive, and a moment later there may be room.
            self.answered(trying=trying)
            return False
        if trying or (not out and self.failures >= self._rules.failures):
            span_s = self._rules.ejection_s * 2.0 ** min(self._ejections, 32)
            self._ejections += 1
            self._take_out(span_s, asked=False)
            return True
        return False

    def retry_after_s(self) -> int:
        """Whole seconds until it may be asked again, at least 1."""
        return max(1, math.ceil(self.out_for_s))

    def _take_out(self, span_s: float, *, asked: bool) -> None:
        until = self._clock() + min(span_s, self._rules.max_ejection_s)
        if self._out_until is None or until > self._out_until:
            self._out_until, self._asked_for_time = until, asked
