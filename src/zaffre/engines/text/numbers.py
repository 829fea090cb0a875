"""Numbers between bounds, as rules of llama.cpp's grammars (GBNF) over their digits."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from msgspec import Struct

MAX_DIGITS = 15
"""Digits before the point: what a double holds exactly."""
MAX_DECIMALS = 6
"""Digits after the point, where there are bounds."""

INTEGER = f'("0" | "-"? [1-9] [0-9]{{0,{MAX_DIGITS - 1}}})'
NUMBER = (
    f'"-"? ("0" | [1-9] [0-9]{{0,{MAX_DIGITS - 1}}}) ("." [0-9]{{1,{MAX_DIGITS}}})?'
    " ([eE] [-+]? [0-9]{1,2})?"
)
_LARGEST = 10**MAX_DIGITS - 1
_FRACTION = f'"." [0-9]{{0,{MAX_DECIMALS - 1}}} [1-9]'
"""More than nothing, less than one."""


class Interval(Struct, frozen=True):
    """What `minimum`, `maximum` and their exclusive forms say together; None: no bound."""

    low: Decimal | None = None
    high: Decimal | None = None
    low_open: bool = False
    high_open: bool = False


def read_interval(schema: Mapping[str, Any]) -> Interval:
    """The bounds in a schema of a number."""
    said = {key: Decimal(str(schema[key])) for key in _LOWS + _HIGHS if key in schema}
    ends = {key: end for key, end in said.items() if end.is_finite()}  # 1e999 is no bound
    lows = [(ends[key], key != "minimum") for key in _LOWS if key in ends]
    highs = [(ends[key], key == "maximum") for key in _HIGHS if key in ends]
    low, low_open = max(lows) if lows else (None, False)
    high, high_closed = min(highs) if highs else (None, True)
    return Interval(low, high, low_open, not high_closed)


_LOWS, _HIGHS = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def integers(interval: Interval) -> str | None:
    """All whole numbers of `interval`, of up to `MAX_DIGITS` digits; None when there are none."""
    return _signed(*_whole_ends(interval, 0), 0)


def numbers(interval: Interval) -> str | None:
    """Numbers of `interval` with up to `MAX_DECIMALS` decimals; None when there are none.

    Between bounds that are not whole, all have the same number of decimals, at least two.
    """
    ends = [end for end in (interval.low, interval.high) if end is not None]
    decimals = max((-_exponent(end) for end in ends), default=0)
    if decimals > 0:
        places = min(MAX_DECIMALS, max(2, decimals))
        return _signed(*_whole_ends(interval, places), places)
    low = -_LARGEST if interval.low is None else int(interval.low)
    high = _LARGEST if interval.high is None else int(interval.high)
    parts = [integers(interval)]
    if high > max(low, 0):  # between n and n + 1, both of which are within the bounds
        parts.append(f"({_span(max(low, 0), high - 1, 0)}) {_FRACTION}")
    if low < min(high, 0):
        parts.append(f'"-" ({_span(max(-high, 0), -low - 1, 0)}) {_FRACTION}')
    found = [part for part in parts if part is not None]
    return " | ".join(found) or None


def _exponent(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _whole_ends(interval: Interval, places: int) -> tuple[int, int]:
    """The first and last number within, counted in units of 10 ** -places."""
    low, high = -_LARGEST, _LARGEST
    if interval.low is not None:
        scaled = interval.low.scaleb(places)
        first = int(scaled.to_integral_value(ROUND_CEILING))
        low = max(low, first + 1 if interval.low_open and first == scaled else first)
    if interval.high is not None:
        scaled = interval.high.scaleb(places)
        last = int(scaled.to_integral_value(ROUND_FLOOR))
        high = min(high, last - 1 if interval.high_open and last == scaled else last)
    return low, high


def _signed(low: int, high: int, places: int) -> str | None:
    parts = []
    if low < 0 and low <= high:
        parts.append(f'"-" ({_span(-min(high, -1), -low, places)})')
    if high >= max(low, 0):
        parts.append(_span(max(low, 0), high, places))
    return " | ".join(parts) or None


def _span(low: int, high: int, places: int) -> str:
    """Numbers from `low` to `high`, neither negative; the last `places` digits after a point."""
    parts = []
    while low <= high:
        width = max(places + 1, len(str(low)))
        end = min(high, 10**width - 1)
        parts.append(_same_width(str(low).zfill(width), str(end).zfill(width), places))
        low = end + 1
    return " | ".join(parts)


def _same_width(low: str, high: str, places: int) -> str:
    width = len(low)
    if not width:
        return ""
    point = '"." ' if 0 < width == places else ""
    rest = width - 1
    nothing, all_ = "0" * rest, "9" * rest
    if low[0] == high[0]:
        return f'{point}"{low[0]}" {_same_width(low[1:], high[1:], places)}'
    first, last = int(low[0]), int(high[0])
    parts = []
    if low[1:] != nothing:
        parts.append(f'"{first}" {_same_width(low[1:], all_, places)}')
        first += 1
    if high[1:] != all_:
        parts.append(f'"{last}" {_same_width(nothing, high[1:], places)}')
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}] {_any_digits(rest, places)}")
    return f"{point}({' | '.join(parts)})"


def _any_digits(width: int, places: int) -> str:
    if 0 < places <= width:
        before = f"[0-9]{{{width - places}}} " if width > places else ""
        return f'{before}"." [0-9]{{{places}}}'
    return f"[0-9]{{{width}}}" if width else ""
