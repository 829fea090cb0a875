"""Accounts: limits hold in every minute, and the wait that a refusal names is the true one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaffre.core.errors import QuotaExceeded, RequestAboveQuota
from zaffre.core.metering import RateLimits, Scope
from zaffre.core.plan import Limits
from zaffre.metering.accounts import LEASE_S, Book, Span, moment_of

NOON = 1_790_000_000.0 - 1_790_000_000 % 86_400 + 43_200


def scope(name="k", kind="key", **limits):
    return Scope(kind, name, Limits(**limits))


def book():
    return Book({}, {})


STEPS = st.lists(
    st.tuples(
        st.floats(0, 45),  # seconds since the step before
        st.integers(0, 100),  # tokens asked for
        st.integers(0, 130),  # tokens used in the end, if it is let in
    ),
    min_size=1,
    max_size=40,
)


@given(steps=STEPS, requests=st.integers(1, 5), tokens=st.integers(100, 200))
def test_a_refusal_names_the_true_wait(steps, requests, tokens):
    """Given any history, when refused, then the same fits after that wait, not a second before."""
    limits = scope(requests_per_minute=requests, tokens_per_minute=tokens)
    accounts, now = book(), NOON + 0.25
    for pause_s, asked, used in steps:
        now += pause_s
        try:
            accounts.settle(accounts.reserve([limits], asked, now), used, now)
        except QuotaExceeded as refusal:
            wait_s = refusal.retry_after_s
            assert 1 <= wait_s <= 60
            if wait_s > 1:
                with pytest.raises(QuotaExceeded):
                    accounts.reserve([limits], asked, now + wait_s - 1)
            now += wait_s
            accounts.settle(accounts.reserve([limits], asked, now), used, now)


@given(steps=STEPS, limit=st.integers(100, 300))
def test_no_minute_has_more_than_the_limit(steps, limit):
    """Given any requests, when they are let in, then no 60 seconds of the clock admit more."""
    limits, accounts, now = scope(tokens_per_minute=limit), book(), NOON
    admitted = []
    for pause_s, asked, _ in steps:
        now += pause_s
        try:
            accounts.reserve([limits], asked, now)
        except QuotaExceeded:
            continue
        admitted.append((int(now), asked))
        assert sum(amount for second, amount in admitted if second > int(now) - 60) <= limit


def test_what_was_not_used_is_given_back():
    """Given a request that used less than it might, when it ends, then the rest is free at once."""
    limits, accounts = scope(tokens_per_minute=100, tokens_per_day=100), book()
    grant = accounts.reserve([limits], 100, NOON)
    with pytest.raises(QuotaExceeded):
        accounts.reserve([limits], 1, NOON + 5)
    accounts.settle(grant, 40, NOON + 5)
    assert accounts.reserve([limits], 60, NOON + 5).rates.remaining_tokens == 0


def test_what_was_used_beyond_the_estimate_is_charged():
    """Given a request that used more than it said, when it ends, then the next ones have less."""
    limits, accounts = scope(tokens_per_minute=100), book()
    accounts.settle(accounts.reserve([limits], 10, NOON), 70, NOON + 1)
    assert accounts.reserve([limits], 0, NOON + 1).rates.remaining_tokens == 30


def test_a_request_is_let_in_by_all_scopes_or_charged_to_none():
    """Given a full scope among others, when refused, then the others have lost nothing."""
    free = scope("free", requests_per_minute=10, tokens_per_minute=1000)
    full = scope("full", "endpoint", requests_per_minute=1)
    accounts = book()
    accounts.reserve([full], 0, NOON)
    with pytest.raises(QuotaExceeded) as refusal:
        accounts.reserve([free, full], 500, NOON)
    rates = accounts.reserve([free], 1000, NOON).rates
    assert (refusal.value.limit, rates.remaining_requests) == ("requests_per_minute", 9)


def test_the_wait_is_the_longest_of_all_scopes():
    """Given two scopes that are full for different times, when refused, then the longer counts."""
    soon, late = scope("soon", requests_per_minute=1), scope("late", requests_per_minute=1)
    accounts = book()
    accounts.reserve([soon], 0, NOON)
    accounts.reserve([late], 0, NOON + 30)
    with pytest.raises(QuotaExceeded) as refusal:
        accounts.reserve([soon, late], 0, NOON + 31)
    assert refusal.value.retry_after_s == 59


def test_concurrent_requests_make_room_when_they_end():
    """Given as many running requests as may be, when one ends, then one more may begin."""
    limits, accounts = scope(concurrent_requests=2), book()
    first, _ = accounts.reserve([limits], 0, NOON), accounts.reserve([limits], 0, NOON)
    with pytest.raises(QuotaExceeded) as refusal:
        accounts.reserve([limits], 0, NOON)
    accounts.settle(first, 0, NOON + 1)
    accounts.reserve([limits], 0, NOON + 1)
    assert (refusal.value.limit, refusal.value.retry_after_s) == ("concurrent_requests", 1)


def test_requests_of_a_dead_gateway_do_not_run_for_ever():
    """Given a gateway that is killed, when its lease is over, then its places are free."""
    limits, accounts = scope(concurrent_requests=1), {}
    Book(accounts, {}, "dead").reserve([limits], 0, NOON)
    with pytest.raises(QuotaExceeded):
        Book(accounts, {}, "alive").reserve([limits], 0, NOON + LEASE_S - 1)
    Book(accounts, {}, "alive").reserve([limits], 0, NOON + LEASE_S)


def test_a_living_gateway_renews_its_lease():
    """Given a request longer than the lease, when its gateway says so, then its place is taken."""
    limits, accounts = scope(concurrent_requests=1), {}
    busy = Book(accounts, {}, "busy")
    busy.reserve([limits], 0, NOON)
    busy.renew(["key:k"], NOON + LEASE_S - 1)
    with pytest.raises(QuotaExceeded):
        Book(accounts, {}, "other").reserve([limits], 0, NOON + LEASE_S + 1)


@pytest.mark.parametrize(
    ("limits", "wait_s"),
    [({"tokens_per_day": 100}, 43_200), ({"tokens_per_month": 100}, 43_200 + 9 * 86_400)],
)
def test_budgets_start_anew_at_midnight(limits, wait_s):
    """Given a used budget on 21 September at noon, when refused, then it is until the next one."""
    budget, accounts = scope(**limits), book()
    accounts.reserve([budget], 100, NOON)
    with pytest.raises(QuotaExceeded) as refusal:
        accounts.reserve([budget], 1, NOON)
    with pytest.raises(QuotaExceeded):
        accounts.reserve([budget], 1, NOON + wait_s - 1)
    accounts.reserve([budget], 100, NOON + wait_s)
    assert refusal.value.retry_after_s == wait_s


def test_december_is_followed_by_january():
    """Given the last day of a year, when the month's end is asked for, then it is tonight."""
    new_year = 1_798_761_600  # 2027-01-01
    assert moment_of(new_year - 10.5).month_left_s == 11
    assert moment_of(new_year).month == moment_of(new_year - 1).month + 1


def test_yesterdays_rest_is_not_given_to_today():
    """Given a request that ends after midnight, when it settles, then today's budget is whole."""
    budget, accounts = scope(tokens_per_day=100), book()
    grant = accounts.reserve([budget], 100, NOON)
    tomorrow = NOON + 43_200
    accounts.reserve([budget], 60, tomorrow)
    accounts.settle(grant, 0, tomorrow)
    with pytest.raises(QuotaExceeded):
        accounts.reserve([budget], 41, tomorrow)


def test_a_request_that_never_fits_is_not_told_to_try_again():
    """Given a request above the whole limit, when it is checked, then no wait is named."""
    with pytest.raises(RequestAboveQuota) as refusal:
        book().reserve([scope(tokens_per_minute=100)], 101, NOON)
    assert refusal.value.retry_after_s is None


def test_rates_are_those_of_the_tightest_scope():
    """Given scopes with different rests, when let in, then the smallest of each kind is told."""
    wide = scope("wide", requests_per_minute=100, tokens_per_minute=50)
    narrow = scope("narrow", "deployment", requests_per_minute=3)
    rates = book().reserve([wide, narrow], 20, NOON + 0.5).rates
    assert rates == RateLimits(3, 2, 60, 50, 30, 60)


def test_without_limits_nothing_is_said():
    """Given no limit at all, when let in, then there are no rates."""
    assert book().reserve([scope()], 20, NOON).rates == RateLimits()


def test_a_clock_set_back_does_not_lock_anybody_out():
    """Given use in what is now the future, when a minute of it lies ahead, then it is forgotten."""
    span = Span()
    span.add(1_000_000, 5)
    span.age(1_000_000 - 3_600)
    assert (span.total, span.wait_s(996_400.0, 5, 5)) == (0, 0)
