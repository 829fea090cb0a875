"""Accounts of quotas: what has been used of each limit, and when enough of it is free again.

Pure counting, the same for every store. A limit per minute looks back over 60 whole seconds of the
clock: never more than the limit in any of them, and the wait for room is known to the second. A
budget per day or month starts anew at midnight, UTC.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from zaffre.core.errors import QuotaExceeded, RequestAboveQuota
from zaffre.core.metering import RateLimits, Scope
from zaffre.core.plan import Limits

SPAN_S = 60
DAY_S = 86_400
_EPOCH = dt.date(1970, 1, 1)
LEASE_S = 60.0
"""How long a gateway's concurrent requests count after it was last heard of."""
CONCURRENCY_RETRY_S = 1
"""Nobody knows when a running request ends."""


class Span(Struct, array_like=True):
    """What was used in the last minute, by second."""

    slots: list[tuple[int, int]] = []
    """Second and amount, oldest first."""
    total: int = 0

    def age(self, now_s: int) -> None:
        """Forget what is over; and what lies in the future, should the clock have been set back."""
        slots = self.slots
        if slots and not (now_s - SPAN_S < slots[0][0] and slots[-1][0] < now_s + SPAN_S):
            self.slots = [slot for slot in slots if -SPAN_S < now_s - slot[0] < SPAN_S]
            self.total = sum(amount for _, amount in self.slots)

    def add(self, second: int, amount: int) -> None:
        """Use `amount`."""
        if self.slots and self.slots[-1][0] >= second:
            last, there = self.slots[-1]
            self.slots[-1] = (last, there + amount)
        else:
            self.slots.append((second, amount))
        self.total += amount

    def give_back(self, second: int, amount: int) -> None:
        """What was used in `second` was less; nothing happens when that is over."""
        for position in range(len(self.slots) - 1, -1, -1):
            when, there = self.slots[position]
            if when == second:
                returned = min(amount, there)
                self.slots[position] = (when, there - returned)
                self.total -= returned
                return

    def wait_s(self, now: float, amount: int, limit: int) -> int:
        """Whole seconds until `amount`, which is within `limit`, fits; 0: now."""
        missing = self.total + amount - limit
        if missing <= 0:
            return 0
        for second, there in self.slots:
            missing -= there
            if missing <= 0:
                return math.ceil(second + SPAN_S - now)
        return SPAN_S

    def reset_s(self, now: float) -> int:
        """Whole seconds until nothing of it is used."""
        return math.ceil(self.slots[-1][0] + SPAN_S - now) if self.slots else 0


class Period(Struct, array_like=True):
    """What was used in one day or month."""

    number: int = 0
    used: int = 0

    def use(self, number: int, amount: int) -> None:
        """Use `amount` in period `number`; a new one starts at nothing."""
        if number != self.number:
            self.number, self.used = number, 0
        self.used = max(0, self.used + amount)


class Account(Struct, array_like=True):
    """All counts of one scope."""

    requests: Span
    tokens: Span
    day: Period
    month: Period
    running: dict[str, tuple[int, float]] = {}
    """Gateway -> its concurrent requests, and when it said so."""
    expires_s: float = 0.0
    """From then on it says nothing more."""


class Moment(Struct, frozen=True):
    """A point in time, as the counts know it."""

    now: float
    second: int
    day: int
    month: int
    day_left_s: int
    """Whole seconds until the next day."""
    month_left_s: int


class Grant(Struct):
    """What a request was given, and from which accounts."""

    scopes: Sequence[Scope]
    tokens: int
    moment: Moment
    rates: RateLimits


class Book:
    """The accounts that a request needs, and how many requests of this gateway run on each."""

    def __init__(
        self, accounts: dict[str, Account], running: dict[str, int], gateway: str = ""
    ) -> None:
        self.accounts, self.running, self._gateway = accounts, running, gateway

    def reserve(self, scopes: Sequence[Scope], tokens: int, now: float) -> Grant:
        """Take from all `scopes`, or from none. Raises as `Quota.reserve`."""
        moment = moment_of(now)
        pairs = [(scope, self._account(scope.account, moment)) for scope in scopes]
        wait_s, limit, scope = 0, "", None
        for candidate, account in pairs:
            refuse_the_impossible(candidate.limits, tokens)
            for seconds, name in self._waits(candidate, account, tokens, moment):
                if seconds > wait_s:
                    wait_s, limit, scope = seconds, name, candidate
        if scope is not None:
            rates = _rates(pairs, now)
            raise QuotaExceeded(
                _refusal(scope, limit, tokens, wait_s), wait_s, limit=limit, rates=rates
            )
        for candidate, account in pairs:
            _charge(account, candidate.limits, tokens, moment)
            self._run(candidate, account, 1, now)
        return Grant(scopes, tokens, moment, _rates(pairs, now))

    def settle(self, grant: Grant, tokens: int, now: float) -> None:
        """Give back what `grant` did not use, or charge what it used more."""
        moment = moment_of(now)
        for scope in grant.scopes:
            account = self._account(scope.account, moment)
            _correct(account, scope.limits, grant, tokens, moment)
            self._run(scope, account, -1, now)

    def renew(self, names: Iterable[str], now: float) -> None:
        """Say again how many requests run."""
        moment = moment_of(now)
        for name in names:
            self._say(name, self._account(name, moment), now)

    def _account(self, name: str, moment: Moment) -> Account:
        account = self.accounts.get(name)
        if account is None:
            account = Account(Span(), Span(), Period(), Period())
            self.accounts[name] = account
        account.requests.age(moment.second)
        account.tokens.age(moment.second)
        return account

    def _waits(
        self, scope: Scope, account: Account, tokens: int, moment: Moment
    ) -> Iterable[tuple[int, str]]:
        limits, now = scope.limits, moment.now
        if limits.requests_per_minute is not None:
            wait_s = account.requests.wait_s(now, 1, limits.requests_per_minute)
            yield wait_s, "requests_per_minute"
        if limits.tokens_per_minute is not None:
            yield account.tokens.wait_s(now, tokens, limits.tokens_per_minute), "tokens_per_minute"
        if limits.concurrent_requests is not None:
            full = self._all_running(scope, account, now) >= limits.concurrent_requests
            yield CONCURRENCY_RETRY_S if full else 0, "concurrent_requests"
        if limits.tokens_per_day is not None:
            used = account.day.used if account.day.number == moment.day else 0
            full = used + tokens > limits.tokens_per_day
            yield moment.day_left_s if full else 0, "tokens_per_day"
        if limits.tokens_per_month is not None:
            used = account.month.used if account.month.number == moment.month else 0
            full = used + tokens > limits.tokens_per_month
            yield moment.month_left_s if full else 0, "tokens_per_month"

    def _all_running(self, scope: Scope, account: Account, now: float) -> int:
        others = sum(
            count
            for gateway, (count, said) in account.running.items()
            if gateway != self._gateway and now - said < LEASE_S
        )
        return others + self.running.get(scope.account, 0)

    def _run(self, scope: Scope, account: Account, change: int, now: float) -> None:
        name = scope.account
        if scope.limits.concurrent_requests is not None or name in self.running:
            count = self.running.get(name, 0) + change
            if count > 0:
                self.running[name] = count
            else:
                self.running.pop(name, None)
            self._say(name, account, now)

    def _say(self, name: str, account: Account, now: float) -> None:
        # The whole count, not a change: what was missed while the store was away mends itself.
        count = self.running.get(name, 0)
        for gateway, (_, said) in list(account.running.items()):
            if now - said >= LEASE_S:
                del account.running[gateway]
        if count:
            account.running[self._gateway] = (count, now)
        else:
            account.running.pop(self._gateway, None)
        account.expires_s = max(account.expires_s, now + LEASE_S)


def moment_of(now: float) -> Moment:
    """`now`, in seconds since 1970, as the counts know it."""
    second = int(now)
    day = second // DAY_S
    month, next_month = _month_of(day)
    return Moment(
        now=now,
        second=second,
        day=day,
        month=month,
        day_left_s=math.ceil((day + 1) * DAY_S - now),
        month_left_s=math.ceil(next_month * DAY_S - now),
    )


@lru_cache(maxsize=4)
def _month_of(day: int) -> tuple[int, int]:
    """The number of the month that `day` is in, and the first day of the next one."""
    date = _EPOCH + dt.timedelta(days=day)
    month = date.year * 12 + date.month - 1
    next_month = dt.date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    return month, (next_month - _EPOCH).days


def refuse_the_impossible(limits: Limits, tokens: int) -> None:
    """Raise `RequestAboveQuota` when `tokens` would not fit even if nothing were used."""
    for limit, span in (
        (limits.tokens_per_minute, "minute"),
        (limits.tokens_per_day, "day"),
        (limits.tokens_per_month, "month"),
    ):
        if limit is not None and tokens > limit:
            raise RequestAboveQuota(tokens, limit, span)


def _charge(account: Account, limits: Limits, tokens: int, moment: Moment) -> None:
    if limits.requests_per_minute is not None:
        account.requests.add(moment.second, 1)
    _charge_tokens(account, limits, tokens, moment)


def _charge_tokens(account: Account, limits: Limits, tokens: int, moment: Moment) -> None:
    left_s = SPAN_S
    if limits.tokens_per_minute is not None:
        account.tokens.add(moment.second, tokens)
    if limits.tokens_per_day is not None:
        account.day.use(moment.day, tokens)
        left_s = max(left_s, moment.day_left_s)
    if limits.tokens_per_month is not None:
        account.month.use(moment.month, tokens)
        left_s = max(left_s, moment.month_left_s)
    account.expires_s = max(account.expires_s, moment.now + left_s)


def _correct(account: Account, limits: Limits, grant: Grant, tokens: int, moment: Moment) -> None:
    more, then = tokens - grant.tokens, grant.moment
    if more > 0:  # an estimate that was too low: the rest is used now
        _charge_tokens(account, limits, more, moment)
        return
    if limits.tokens_per_minute is not None:
        account.tokens.give_back(then.second, -more)
    if limits.tokens_per_day is not None and account.day.number == then.day:
        account.day.use(then.day, more)
    if limits.tokens_per_month is not None and account.month.number == then.month:
        account.month.use(then.month, more)


def _rates(pairs: Sequence[tuple[Scope, Account]], now: float) -> RateLimits:
    requests = _tightest(
        ((scope.limits.requests_per_minute, account.requests) for scope, account in pairs), now
    )
    tokens = _tightest(
        ((scope.limits.tokens_per_minute, account.tokens) for scope, account in pairs), now
    )
    return RateLimits(*requests, *tokens)


def _tightest(
    limited: Iterable[tuple[int | None, Span]], now: float
) -> tuple[int | None, int | None, int | None]:
    found: tuple[int, int, Span] | None = None
    for limit, span in limited:
        if limit is not None:
            remaining = max(0, limit - span.total)
            if found is None or remaining < found[1]:
                found = limit, remaining, span
    if found is None:
        return None, None, None
    return found[0], found[1], found[2].reset_s(now)


_WORDS: Mapping[str, str] = {
    "requests_per_minute": "requests per minute",
    "tokens_per_minute": "tokens per minute",
    "concurrent_requests": "requests at a time",
    "tokens_per_day": "tokens per day",
    "tokens_per_month": "tokens per month",
}


def _refusal(scope: Scope, limit: str, tokens: int, wait_s: int) -> str:
    amount = getattr(scope.limits, limit)
    asked = f" (this request may use {tokens})" if limit.startswith("tokens") else ""
    return (
        f"The limit of {amount} {_WORDS[limit]} of this {scope.kind} is used up{asked}."
        f" Please retry after {wait_s} seconds."
    )
