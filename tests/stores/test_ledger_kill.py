"""Kill -9: what was acknowledged is there, and what was open is aborted, once."""

import random

from kill_rounds import LONG_REQUESTS, kill_round

ROUNDS = 6


def test_no_acknowledged_row_is_lost(tmp_path):
    """Given writers killed at random points, when the next one starts, then the books are right."""
    chance = random.Random(5)  # noqa: S311 - nothing secret
    found = [kill_round(tmp_path / "usage.db", number, chance) for number in range(ROUNDS)]
    assert all(one.acknowledged > 0 for one in found)
    assert [(one.lost, one.twice, one.missing) for one in found] == [(0, 0, 0)] * ROUNDS
    assert [one.aborted for one in found] == [LONG_REQUESTS] * ROUNDS
