"""One suite for every store of quotas: exact for one gateway process, and for two."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from postgres_server import PostgresServer

from zaffre.core.errors import MeteringUnavailable, QuotaExceeded, RequestAboveQuota
from zaffre.core.metering import Scope
from zaffre.core.plan import Limits
from zaffre.metering.quota_sqlite import TIDY_EVERY, SqliteAccounts
from zaffre.metering.shared_quota import SharedQuota
from zaffre.metering.stores import open_quota
from zaffre.metering.turns import Turns

CHILD = Path(__file__).with_name("quota_child.py")


@pytest_asyncio.fixture(params=["sqlite", "redis", "postgres"])
async def url(request, tmp_path):
    """The URL of an empty store, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'quota.db'}"
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.make_database()


@pytest_asyncio.fixture
async def quotas(url):
    """Opens gateways' quotas over one store."""
    opened = []

    def open_one():
        opened.append(open_quota(url))
        return opened[-1]

    yield open_one
    for quota in opened:
        await quota.aclose()


async def count_admitted(quotas, scopes, tokens, requests):
    """How many of `requests` get in, made at once, taking turns over `quotas`."""
    outcomes = await asyncio.gather(
        *(quotas[n % len(quotas)].reserve(scopes, tokens) for n in range(requests)),
        return_exceptions=True,
    )
    wrong = [o for o in outcomes if isinstance(o, BaseException) and type(o) is not QuotaExceeded]
    assert not wrong
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes)


async def test_two_gateways_let_exactly_the_limit_in(quotas, request):
    """Given 200 requests on a quota of 100 in two gateways, when they race, then 100 are in."""
    scopes = [Scope("key", request.node.name, Limits(requests_per_minute=100))]
    assert await count_admitted([quotas(), quotas()], scopes, 0, 200) == 100


def test_two_processes_let_exactly_the_limit_in(url):
    """Given 100 requests each of two processes on a quota of 100, when they race, 100 are in."""
    command = [sys.executable, str(CHILD), url, "raced", "100", "100"]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate()[0].split() for child in children]
    assert all(child.returncode == 0 for child in children)
    assert sum(int(admitted) for admitted, _ in said) == 100
    assert sum(int(refused) for _, refused in said) == 100


async def test_what_one_gateway_gives_back_another_can_use(quotas, request):
    """Given tokens reserved in one gateway, when it settles, then another has the rest."""
    one, two = quotas(), quotas()
    scopes = [Scope("key", request.node.name, Limits(tokens_per_minute=100, tokens_per_day=500))]
    reservation = await one.reserve(scopes, 90)
    with pytest.raises(QuotaExceeded):
        await two.reserve(scopes, 20)
    await reservation.settle(5)
    await one.reserve(scopes, 0)  # what was said before this has arrived
    assert (await two.reserve(scopes, 90)).rates.remaining_tokens == 5


async def test_concurrent_requests_are_counted_over_gateways(quotas, request):
    """Given one place, when a gateway has it, then the other waits until it is free."""
    one, two = quotas(), quotas()
    scopes = [Scope("deployment", request.node.name, Limits(concurrent_requests=1))]
    running = await one.reserve(scopes, 0)
    with pytest.raises(QuotaExceeded):
        await two.reserve(scopes, 0)
    await running.settle(0)
    other = [Scope("deployment", f"{request.node.name}-other", Limits(requests_per_minute=9))]
    await one.reserve(other, 0)
    await two.reserve(scopes, 0)


async def test_scopes_are_charged_together_or_not_at_all(quotas, request):
    """Given a full scope, when a request is refused for it, then the other scope lost nothing."""
    quota, name = quotas(), request.node.name
    free = Scope("key", name, Limits(tokens_per_minute=100))
    full = Scope("endpoint", name, Limits(requests_per_minute=1))
    await quota.reserve([full], 0)
    with pytest.raises(QuotaExceeded):
        await quota.reserve([free, full], 60)
    with pytest.raises(RequestAboveQuota):
        await quota.reserve([free], 101)
    assert (await quota.reserve([free], 100)).rates.remaining_tokens == 0


async def test_a_client_that_leaves_while_waiting_holds_nothing(quotas, request):
    """Given a request that is cancelled before its turn, when it would be let in, it is undone."""
    quota = quotas()
    scopes = [Scope("key", request.node.name, Limits(concurrent_requests=1))]
    leaving = asyncio.ensure_future(quota.reserve(scopes, 0))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    other = [Scope("key", f"{request.node.name}-other", Limits(requests_per_minute=9))]
    await quota.reserve(other, 0)
    await quota.reserve(scopes, 0)


async def test_without_limits_nothing_is_asked_of_the_store(quotas):
    """Given scopes without limits, when a request comes, then it is let in."""
    await quotas().reserve([Scope("key", "k", Limits())], 10**9)


async def test_budgets_survive_a_restart(tmp_path):
    """Given a used budget in a file, when the gateway starts again, then it is still used."""
    scopes = [Scope("key", "k", Limits(tokens_per_month=100))]
    first = SharedQuota(SqliteAccounts(tmp_path / "quota.db"), clock=lambda: 1_790_000_000.0)
    await (await first.reserve(scopes, 80)).settle(70)
    await first.aclose()
    second = SharedQuota(SqliteAccounts(tmp_path / "quota.db"), clock=lambda: 1_790_000_100.0)
    with pytest.raises(QuotaExceeded):
        await second.reserve(scopes, 31)
    await second.reserve(scopes, 30)
    await second.aclose()


def test_what_was_taken_stays_taken_after_a_kill(url):
    """Given a gateway that takes 60 of 100 and is killed, when the next asks for 41, it has 40."""
    command = [sys.executable, str(CHILD), url, "killed"]
    first = [*command, "60", "100", "die"]
    killed = subprocess.run(first, input=b"go\n", stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -signal.SIGKILL
    second = [*command, "41", "100"]
    said = subprocess.run(second, input=b"go\n", stdout=subprocess.PIPE, check=True)
    assert said.stdout.splitlines()[-1] == b"40 1"


async def test_a_neighbours_change_is_waited_for(tmp_path):
    """Given another process in the middle of its change, when requests come, then they wait for it,
    nothing else does, and who leaves meanwhile holds nothing."""
    path = tmp_path / "quota.db"
    quota, neighbour = open_quota(f"sqlite:{path}"), Turns(path)
    scopes = [Scope("key", "k", Limits(concurrent_requests=1))]
    await (await quota.reserve(scopes, 0)).settle(0)
    with neighbour.taken():
        leaving = asyncio.ensure_future(quota.reserve(scopes, 0))
        staying = asyncio.ensure_future(quota.reserve([Scope("key", "o", scopes[0].limits)], 0))
        await asyncio.wait([leaving, staying], timeout=0.05)
        assert not leaving.done()
        assert not staying.done()
        leaving.cancel()
    await staying
    await quota.reserve(scopes, 0)
    await quota.aclose()
    neighbour.close()


async def test_who_writes_without_queueing_is_waited_for(tmp_path):
    """Given a program that writes the file without a turn, when a request comes, then it waits."""
    path = tmp_path / "quota.db"
    quota = open_quota(f"sqlite:{path}")
    scopes = [Scope("key", "k", Limits(requests_per_minute=9))]
    await quota.reserve(scopes, 0)
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(quota.reserve(scopes, 0))
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    stranger.execute("ROLLBACK")
    assert (await waiting).rates.remaining_requests == 7
    stranger.close()
    await quota.aclose()


async def test_the_log_beside_the_file_does_not_grow(tmp_path):
    """Given thousands of changes, when they are made, then SQLite's log is begun anew at times."""
    store = SqliteAccounts(tmp_path / "quota.db")
    quota = SharedQuota(store)
    scopes = [Scope("key", "k", Limits(tokens_per_day=10**9))]
    for _ in range(2 * TIDY_EVERY):
        await quota.reserve(scopes, 1)
    settled_size = (tmp_path / "quota.db-wal").stat().st_size
    for _ in range(2 * TIDY_EVERY):
        await quota.reserve(scopes, 1)
    assert (tmp_path / "quota.db-wal").stat().st_size <= settled_size
    await quota.aclose()


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing"],
)
async def test_a_store_out_of_reach_refuses(url):
    """Given a store that is away, when a request comes, then it is refused as unaccountable."""
    pytest.importorskip("redis")
    quota = open_quota(url)
    with pytest.raises(MeteringUnavailable):
        await quota.reserve([Scope("key", "k", Limits(requests_per_minute=1))], 0)
    await quota.aclose()


@pytest.mark.parametrize("url", ["mongodb://somewhere", "nonsense"])
async def test_an_unknown_store_is_named(url):
    """Given a URL that no store is for, when it is opened, then the known ones are listed."""
    with pytest.raises(MeteringUnavailable, match="sqlite"):
        open_quota(url)
