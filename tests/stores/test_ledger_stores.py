"""One suite for every store of the ledger: what goes in comes out, once."""

import asyncio

import msgspec
import pytest
from usage_rows import DAY_MS, TODAY, make_row

from zaffre.core.cards import Prices
from zaffre.core.metering import UsageQuery


async def record(ledger, *rows):
    await asyncio.gather(*(ledger.close(ledger.open(one), one) for one in rows))


async def test_every_row_is_counted_under_its_group(bench):
    """Given two keys' requests, when asked by key, then each has its own, the bigger first."""
    ledger = bench.open()
    await record(
        ledger,
        make_row(
            "a", principal_id="k1", principal_name="first", prompt_tokens=5, completion_tokens=6
        ),
        make_row(
            "b", principal_id="k1", principal_name="first", prompt_tokens=1, completion_tokens=2
        ),
        make_row("c", principal_id="k2", principal_name="second", prompt_tokens=90, status=429),
    )
    found = await bench.usage(UsageQuery("key"))
    assert [(one.name, one.requests, one.errors, one.prompt_tokens) for one in found] == [
        ("second", 1, 1, 90),
        ("first", 2, 0, 6),
    ]


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("model", ["large", "small"]),
        ("endpoint", ["east", "west"]),
        ("day", ["2026-09-20", "2026-09-21"]),
    ],
)
async def test_rows_can_be_grouped(bench, by, groups):
    """Given requests that differ in all respects, when grouped by one, then it has its groups."""
    ledger = bench.open()
    then = (TODAY - 1) * DAY_MS
    await record(
        ledger,
        make_row("a", model="small", endpoint="east", started_ms=then, prompt_tokens=1),
        make_row("b", model="large", endpoint="west", started_ms=then + DAY_MS, prompt_tokens=2),
    )
    assert sorted(one.group for one in await bench.usage(UsageQuery(by))) == groups


async def test_days_before_since_do_not_count(bench):
    """Given requests of two days, when asked since the second, then the first is left out."""
    ledger = bench.open()
    midnight = TODAY * DAY_MS
    await record(
        ledger, make_row("old", started_ms=midnight - 1), make_row("new", started_ms=midnight)
    )
    (found,) = await bench.usage(UsageQuery("key", since_day=TODAY))
    assert found.requests == 1


async def test_a_principal_sees_only_its_own(bench):
    """Given two keys' requests, when asked for one of them, then the other's do not count."""
    ledger = bench.open()
    await record(ledger, make_row("a", principal_id="k1"), make_row("b", principal_id="k2"))
    (found,) = await bench.usage(UsageQuery("model", principal_id="k2"))
    assert found.requests == 1


async def test_mirrored_requests_are_counted_apart(bench):
    """Given a request and its mirrored copy, when asked for either, then the other is left out."""
    ledger = bench.open()
    await record(
        ledger, make_row("a", prompt_tokens=3), make_row("a", mirrored=True, prompt_tokens=4)
    )
    (own,) = await bench.usage(UsageQuery("model"))
    (copies,) = await bench.usage(UsageQuery("model", mirrored=True))
    assert (own.prompt_tokens, copies.prompt_tokens) == (3, 4)


async def test_cost_follows_the_prices(bench):
    """Given a model with a price and one without, when asked, then cost and remainder are told."""
    ledger = bench.open()
    await record(
        ledger,
        make_row("a", model="small", prompt_tokens=2_000_000, completion_tokens=500_000),
        make_row("b", model="free", prompt_tokens=7, completion_tokens=0),
    )
    (found,) = await bench.usage(UsageQuery("key"), {"small": Prices(input=0.5, output=2.0)})
    assert (found.cost, found.unpriced_tokens) == (2.0, 7)


async def test_roll_ups_change_no_sum(bench):
    """Given rows of ten days, when the old ones are rolled up, then every answer is as before."""
    ledger = bench.open(retention_days=100)
    rows = [
        make_row(
            f"{day}-{n}",
            started_ms=(TODAY - day) * DAY_MS + n,
            principal_id=f"k{n % 2}",
            model=f"m{n % 3}",
            status=500 if n == 1 else 200,
            mirrored=n == 4,
            prompt_tokens=10 * day + n,
        )
        for day in range(10)
        for n in range(5)
    ]
    await record(ledger, *rows)
    questions = [
        UsageQuery(by, since_day=TODAY - since, mirrored=mirrored)
        for by in ("key", "model", "endpoint", "day")
        for since in (1, 6, 20)
        for mirrored in (False, True)
    ]
    before = [await bench.usage(question) for question in questions]
    raw = len(await bench.rows())
    await bench.aclose()
    bench.open(retention_days=3)
    await bench.until_rolled_up(rows_left=20)  # today and the three days before
    assert raw == 50
    assert [await bench.usage(question) for question in questions] == before


async def test_a_second_gateway_adds_its_own(bench):
    """Given two gateways, when both write, then all rows are there, whoever is asked."""
    one, two = bench.open(), bench.open(outbox=bench.second_outbox)
    await asyncio.gather(
        record(one, *(make_row(f"1-{n}") for n in range(50))),
        record(two, *(make_row(f"2-{n}") for n in range(50))),
    )
    (found,) = await bench.usage(UsageQuery("model"))
    assert found.requests == 100


async def test_an_open_request_is_aborted_at_the_end(bench):
    """Given a request that never ended, when the server does, then it is there as aborted."""
    ledger = bench.open()
    ledger.checkpoint(ledger.open(make_row("a", completion_tokens=0)), 17)
    await bench.aclose()
    bench.open()
    (found,) = await bench.usage(UsageQuery("model"))
    assert (found.requests, found.errors, found.completion_tokens) == (1, 1, 17)


async def test_nothing_of_a_row_is_lost(bench):
    """Given a row with all its fields, when it is read back raw, then they are as they were."""
    ledger = bench.open()
    full = make_row("a", first_token_ms=7, stream=True, mirrored=True, attempt=3, finish="stop")
    await record(ledger, full, make_row("b", first_token_ms=None))
    stored = await bench.rows()
    assert msgspec.structs.astuple(full) in stored
