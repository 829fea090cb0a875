"""Usage summed up: one question for every store, over raw rows and roll-ups, and its cost."""

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable

from msgspec import Struct

from zaffre.core.cards import Prices
from zaffre.core.metering import ABORTED, PriceList, UsageGroup, UsageQuery, UsageSum

DAY_MS = 86_400_000
_EPOCH = dt.date(1970, 1, 1)
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
_KEYS = "principal_id, principal_name, endpoint, deployment, model, operation, mirrored"
_SUMS = ("requests", "errors", *_TOKENS)
_GROUPS: dict[UsageGroup, tuple[str, str]] = {
    "key": ("principal_id", "max(principal_name)"),
    "model": ("model", "''"),
    "endpoint": ("endpoint", "''"),
    "day": ("CAST(day AS TEXT)", "''"),
}

_AS_DAYS = (
    f"started_ms / {DAY_MS} AS day, {_KEYS}, 1 AS requests,"
    f" CASE WHEN status >= 400 OR finish = '{ABORTED}' THEN 1 ELSE 0 END AS errors,"
    f" {', '.join(_TOKENS)}"
)
_DAY_COLUMNS = f"day, {_KEYS}, {', '.join(_SUMS)}"


class PartialSum(Struct, frozen=True, array_like=True):
    """What one model used in one group: an answer row of `question`."""

    group: str
    name: str
    model: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int


def read_first_day(since: str, now: Callable[[], float] = time.time) -> int:
    """`since` as days since 1970-01-01, UTC: a date like `2026-11-01`, or days back like `7d`.

    Raises `ValueError` with the end of a sentence about it.
    """
    if re.fullmatch(r"\d{1,5}d", since, re.ASCII):
        return max(0, int(now() * 1000) // DAY_MS - int(since[:-1]))
    try:
        return (dt.date.fromisoformat(since) - _EPOCH).days
    except ValueError:
        raise ValueError("must be a date like 2026-11-01, or days back like 7d.") from None


def question(by: UsageGroup) -> str:
    """SQL whose answer rows are `PartialSum`s.

    Parameters: $1 first day, $2 its first millisecond, $3 whether mirrored, $4 principal or NULL.
    A row is in `usage_rows` or in the sums of `usage_days`, never in both.
    """
    group, name = _GROUPS[by]
    sums = ", ".join(f"CAST(sum({column}) AS BIGINT)" for column in _SUMS)
    # All parts are this module's own constants; what callers bring goes in as parameters.
    return (
        f"SELECT {group}, {name}, model, {sums} FROM ("  # noqa: S608
        f"SELECT {_AS_DAYS} FROM usage_rows WHERE started_ms >= $2"
        f" UNION ALL SELECT {_DAY_COLUMNS} FROM usage_days WHERE day >= $1) AS together"
        " WHERE mirrored = $3 AND (CAST($4 AS TEXT) IS NULL OR principal_id = $4)"
        f" GROUP BY {group}, model"
    )


def roll_up_of(source: str) -> str:
    """SQL that adds the rows of the query `source` to `usage_days`."""
    adding = ", ".join(f"{column} = usage_days.{column} + excluded.{column}" for column in _SUMS)
    sums = ", ".join(f"CAST(sum({column}) AS BIGINT)" for column in _SUMS)
    return (
        f"INSERT INTO usage_days ({_DAY_COLUMNS})"  # noqa: S608
        f" SELECT day, {_KEYS}, {sums} FROM (SELECT {_AS_DAYS} FROM ({source}) AS old) AS days"
        # WHERE true: without it SQLite takes the ON for a join's.
        f" WHERE true GROUP BY day, {_KEYS}"
        f" ON CONFLICT (day, {_KEYS}) DO UPDATE SET {adding}"
    )


def add_up(parts: Iterable[PartialSum], query: UsageQuery, prices: PriceList) -> list[UsageSum]:
    """One sum per group, with its cost: by day in their order, else the biggest first."""
    groups: dict[str, list[PartialSum]] = {}
    for part in parts:
        groups.setdefault(part.group, []).append(part)
    sums = [_sum(group, members, query.by, prices) for group, members in groups.items()]
    if query.by == "day":
        return sorted(sums, key=lambda total: total.group)
    return sorted(sums, key=lambda s: (-s.prompt_tokens - s.completion_tokens, s.group))


def _sum(group: str, parts: list[PartialSum], by: UsageGroup, prices: PriceList) -> UsageSum:
    label = _date(int(group)) if by == "day" else group
    costs = [_cost(part, prices[part.model]) for part in parts if part.model in prices]
    return UsageSum(
        group=label,
        name=max(part.name for part in parts) or label,
        requests=sum(part.requests for part in parts),
        errors=sum(part.errors for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        reasoning_tokens=sum(part.reasoning_tokens for part in parts),
        cost=sum(costs) if costs else None,
        unpriced_tokens=sum(
            part.prompt_tokens + part.completion_tokens
            for part in parts
            if part.model not in prices
        ),
    )


def _cost(part: PartialSum, price: Prices) -> float:
    return (part.prompt_tokens * price.input + part.completion_tokens * price.output) / 1e6


def _date(day: int) -> str:
    return (_EPOCH + dt.timedelta(days=day)).isoformat()
