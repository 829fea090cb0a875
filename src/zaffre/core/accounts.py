"""Accounts: what one request used, gathered while it runs and closed once."""

import time
from collections.abc import Callable, Iterable

from zaffre.core.deltas import (
    Batches,
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from zaffre.core.metering import ABORTED, Ledger, RateLimits, UsageRow
from zaffre.core.principals import Principal

GONE = 499
"""The status of a request whose client went away before there was one, as web servers log it."""


class Account:
    """One request's row in the making. Whoever answers the request closes it, in every case.

    `clock` gives seconds that never go back, `now` seconds since 1970.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        request_id: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._began = clock()
        self._started_ms = int(now() * 1000)
        self._id = request_id
        self._entry: int | None = None
        self._expected = self._closed = False
        self._first_token: float | None = None
        self.facts: dict[str, str | int | bool] = {}
        """Fields of the row that are known already."""
        self.usage: Usage | None = None
        """The whole of it; None while the answer is not complete."""
        self.tokens = 0
        """Pieces of the answer so far: a lower bound of its tokens until there is `usage`."""
        self.finish = ""
        self.screened = False
        """Whether a content safety policy applies, for the answer's headers."""
        self.rates: RateLimits | None = None
        """What is left of the caller's limits, for the answer's headers."""

    @property
    def charged_tokens(self) -> int:
        """What quotas count: all of it, or as much as is known of an answer that was cut off."""
        return self.tokens if self.usage is None else self.usage.total_tokens

    @property
    def complete(self) -> bool:
        """Whether all that it cost is known, and nothing but the row's closing is left."""
        return self.usage is not None and not self._closed

    def expect(self, principal: Principal, **facts: str | int | bool) -> None:
        """The request is for a model: whatever becomes of it, it gets a row."""
        self._expected = True
        self.facts |= facts
        self.facts |= {"principal_id": principal.id, "principal_name": principal.name}

    def begin(self, **facts: str | int | bool) -> None:
        """The request is on its way to a model; `facts` are fields of `UsageRow`.

        From now on it is in the ledger even when the server is killed. Raises what `Ledger.open`
        raises.
        """
        self._expected = True
        self.facts |= facts
        if self._ledger is not None and self._entry is None:
            self._entry = self._ledger.open(self._row(0, 0))

    async def counted(self, batches: Batches) -> Batches:
        """`batches`, noted on their way."""
        async for batch in batches:
            self.note(batch)
            yield batch

    def note(self, deltas: Iterable[Delta]) -> None:
        """These are a part of the answer."""
        before = self.tokens
        for delta in deltas:
            match delta:
                case TextDelta() | ReasoningDelta() | ToolCallDelta():
                    self.tokens += 1
                case Finish(reason=reason):
                    self.finish = reason
                case Usage():
                    self.usage = delta
        if self.tokens == before:
            return
        if self._first_token is None:
            self._first_token = self._clock()
        if self._ledger is not None and self._entry is not None and self.usage is None:
            self._ledger.checkpoint(self._entry, self.tokens)

    async def close(self, status: int | None, bytes_out: int) -> None:
        """The answer ends with `status`; None: it never got one. Returns when that is durable.

        Only the first call counts. Raises what `Ledger.close` raises.
        """
        if self._closed:
            return
        self._closed = True
        if self._ledger is None or not self._expected:
            return
        if self.usage is None and (status is None or status < 400) and self._entry is not None:
            self.finish = ABORTED
        row = self._row(GONE if status is None else status, bytes_out)
        if self._entry is None:
            self._entry = self._ledger.open(row)
        await self._ledger.close(self._entry, row)

    def _row(self, status: int, bytes_out: int) -> UsageRow:
        usage = self.usage or Usage(0, self.tokens)
        first = self._first_token
        return UsageRow(
            id=self._id,
            started_ms=self._started_ms,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            latency_ms=round((self._clock() - self._began) * 1000),
            first_token_ms=None if first is None else round((first - self._began) * 1000),
            finish=self.finish,
            status=status,
            bytes_out=bytes_out,
            **self.facts,  # type: ignore[arg-type]
        )
