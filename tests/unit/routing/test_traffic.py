"""Traffic: shares are kept exactly, and a session stays where it is."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.routing.traffic import pick, session_point

DRAWS = 10_000
SHARES = st.dictionaries(st.text(min_size=1, max_size=4), st.integers(0, 100), max_size=6)


def test_shares_are_those_of_the_draws():
    """Given 90 to 9 to 1, when 10,000 points are drawn, then chi-square finds nothing odd."""
    traffic = {"blue": 90, "green": 9, "red": 1}
    points = random.Random(7)  # noqa: S311 - for repetition
    seen = [pick(traffic, points.random()) for _ in range(DRAWS)]
    square = sum(
        (seen.count(name) - DRAWS * share / 100) ** 2 / (DRAWS * share / 100)
        for name, share in traffic.items()
    )
    assert square < 13.8  # 2 degrees of freedom, p = 0.001


@given(SHARES)
def test_evenly_laid_points_meet_every_share_exactly(traffic: dict[str, int]):
    total = sum(traffic.values())
    seen = [pick(traffic, (point + 0.5) / total) for point in range(total)]
    assert {name: seen.count(name) for name in traffic} == (
        traffic if total else dict.fromkeys(traffic, 0)
    )


@given(SHARES, st.floats(0, math.nextafter(1, 0)))
def test_nobody_without_a_share_is_picked(traffic: dict[str, int], point: float):
    picked = pick(traffic, point)
    if any(traffic.values()):
        assert picked is not None
        assert traffic[picked] > 0
    else:
        assert picked is None


@given(st.text())
def test_a_session_has_one_point(session: str):
    assert session_point(session) == session_point(session)
    assert 0 <= session_point(session) < 1


def test_sessions_are_spread_evenly():
    points = sorted(session_point(f"session {number}") for number in range(DRAWS))
    assert max(abs(point - i / DRAWS) for i, point in enumerate(points)) < 0.02  # Kolmogorov


@pytest.mark.parametrize("point", [0, 0.5, 0.999])
def test_no_traffic_picks_nobody(point: float):
    assert pick({}, point) is None
    assert pick({"blue": 0}, point) is None
