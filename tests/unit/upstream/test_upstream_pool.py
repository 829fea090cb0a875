"""Pools: who is asked, who is asked instead, and who is left alone for how long."""

from collections import Counter
from contextlib import aclosing

import pytest
from scripted_servers import HELLO, Scene, broken

from zaffre.config.settings import ConfigurationError
from zaffre.core import errors
from zaffre.core.calls import EmbedCall, ImageEmbedCall
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.plan import Upstream
from zaffre.upstream.pool import PoolRules, UpstreamPool
from zaffre.upstream.watch import WatchRules

RETRYABLE = [
    errors.ModelUnreachable("No."),
    errors.ModelUnavailable("No."),
    errors.ModelTimeout("No."),
    errors.EngineFailed("No."),
    errors.Overloaded("No."),
]
THE_CALLS_FAULT = [
    errors.InvalidRequest("No."),
    errors.UnsupportedParameter(("seed",), 1, "No."),
    errors.PromptTooLong(9, 8),
    errors.OperationNotSupported("chat", "m", ["embed"]),
]


def named(error: Exception) -> str:
    return type(error).__name__


async def test_the_lowest_priority_is_asked_while_it_can_be():
    scene = Scene(first={}, second={"priority": 1}, third={"priority": 2})
    assert [await scene.chat() for _ in range(3)] == ["first"] * 3
    scene["first"].will(broken())
    assert [await scene.chat() for _ in range(5)] == ["second"] * 5
    assert scene["third"].asked == 0


async def test_weights_share_among_the_idle():
    draws = iter([i / 40 for i in range(40)])
    scene = Scene(heavy={"weight": 3}, light={"weight": 1}, draw=lambda: next(draws))
    assert Counter([await scene.chat() for _ in range(40)]) == {"heavy": 30, "light": 10}


async def test_the_least_busy_for_its_weight_is_asked():
    scene = Scene(heavy={"weight": 2}, light={"weight": 1})
    running = [scene.pool.stream(HELLO) for _ in range(6)]
    try:
        said = [delta for batches in running for delta in await anext(batches)]
        assert Counter(delta.text for delta in said) == {"heavy": 4, "light": 2}
        assert [status.calls for status in scene.pool.statuses()] == [4, 2]
        assert (await scene.pool.health()).active == 6
    finally:
        for deltas in running:
            await deltas.aclose()
    assert [status.calls for status in scene.pool.statuses()] == [0, 0]


async def test_who_is_full_is_passed_over_and_all_full_is_said_at_once():
    scene = Scene(only={"max_calls": 1}, spare={"max_calls": 1, "priority": 1})
    async with (
        aclosing(scene.pool.stream(HELLO)) as one,
        aclosing(scene.pool.stream(HELLO)) as other,
    ):
        assert [await anext(one), await anext(other)] == [[TextDelta("only")], [TextDelta("spare")]]
        assert await scene.outcome() == "Overloaded"
    assert await scene.chat() == "only"


@pytest.mark.parametrize("error", RETRYABLE, ids=named)
async def test_a_failure_before_the_first_delta_is_another_ones_chance(error: errors.ZaffreError):
    scene = Scene(bad={}, good={"priority": 1})
    scene["bad"].will(error)
    assert await scene.chat() == "good"
    assert (await scene.pool.embed(EmbedCall(("a",)))).vectors == (b"good",)
    assert (await scene.pool.embed_images(ImageEmbedCall(()))).vectors == (b"good",)


@pytest.mark.parametrize("error", RETRYABLE, ids=named)
async def test_a_failure_after_the_first_delta_is_final(error: errors.ZaffreError):
    scene = Scene(bad={}, good={"priority": 1})
    scene["bad"].will([TextDelta("half"), error])
    async with aclosing(scene.pool.stream(HELLO)) as deltas:
        assert await anext(deltas) == [TextDelta("half")]
        with pytest.raises(errors.ZaffreError):
            await anext(deltas)
    assert scene["good"].asked == 0


@pytest.mark.parametrize("error", THE_CALLS_FAULT, ids=named)
async def test_what_is_the_calls_own_fault_is_final(error: errors.ZaffreError):
    scene = Scene(one={}, other={"priority": 1})
    scene["one"].will(error)
    for _ in range(5):
        assert await scene.outcome() == type(error).__name__
    assert scene["other"].asked == 0
    assert scene.states() == ["ready", "ready"]


async def test_attempts_are_bounded_and_each_is_elsewhere():
    scene = Scene(**{f"s{i}": {"priority": i} for i in range(5)})
    for server in scene.servers.values():
        server.will(broken())
    assert await scene.outcome() == "EngineFailed"
    assert [server.asked for server in scene.servers.values()] == [1, 1, 1, 0, 0]
    fewer = Scene(PoolRules(attempts=1), bad={}, good={"priority": 1})
    fewer["bad"].will(broken())
    assert await fewer.outcome() == "EngineFailed"


async def test_callers_are_never_asked_to_look_for_another_client():
    """`ModelUnreachable` means that to the gateway: a pool has looked already."""
    scene = Scene(one={})
    scene["one"].will(errors.ModelUnreachable("No."))
    with pytest.raises(errors.ModelUnavailable) as raised:
        await scene.chat()
    assert type(raised.value) is errors.ModelUnavailable


async def test_failures_in_a_row_take_out_and_the_time_doubles():
    scene = Scene(PoolRules(watch=WatchRules(failures=3, ejection_s=5, max_ejection_s=12)), one={})
    scene["one"].will(broken())
    assert [await scene.outcome() for _ in range(4)] == ["EngineFailed"] * 3 + ["ModelUnavailable"]
    assert scene["one"].asked == 3
    for span_s in (5, 10, 12, 12):
        scene.clock.now += span_s - 0.5
        assert scene.states() == ["ejected"]
        with pytest.raises(errors.ModelUnavailable) as raised:
            await scene.chat()
        assert raised.value.retry_after_s == 1
        scene.clock.now += 0.5
        assert scene.states() == ["probing"]
        assert await scene.outcome() == "EngineFailed"
        assert scene.states() == ["ejected"]


async def test_all_out_tells_the_shortest_wait():
    scene = Scene(one={}, two={})
    for server in scene.servers.values():
        server.will(broken())
    while "ready" in scene.states():
        await scene.outcome()
    scene.clock.now += 1.5
    with pytest.raises(errors.ModelUnavailable) as raised:
        await scene.chat()
    assert raised.value.retry_after_s == 4


async def test_a_success_starts_the_count_again():
    scene = Scene(one={})
    for _ in range(3):
        scene["one"].will(broken(), broken(), [TextDelta("ok"), Finish("stop"), Usage(1)])
        assert [await scene.outcome() for _ in range(3)] == ["EngineFailed", "EngineFailed", "ok"]
    assert scene.states() == ["ready"]


async def test_one_call_tries_and_the_others_go_elsewhere():
    scene = Scene(one={}, spare={"priority": 1})
    scene["one"].will(broken())
    for _ in range(3):
        await scene.chat()
    assert scene.states()[0] == "ejected"
    scene["one"].works()
    scene.clock.now += 5
    trying = scene.pool.stream(HELLO)
    async with aclosing(trying):
        # It has been chosen only when its first delta is asked for: so ask for it, and hold it.
        assert await anext(trying) == [TextDelta("one")]
        assert scene.states()[0] == "ready"  # the first sign of an answer lets others follow
        assert await scene.chat() == "one"


async def test_while_one_tries_nobody_else_does():
    scene = Scene(one={}, spare={"priority": 1})
    scene["one"].will(broken())
    for _ in range(3):
        await scene.chat()
    scene.clock.now += 5
    member = scene.pool._members[0]
    trying = member.watch.begin()
    assert trying
    assert await scene.chat() == "spare"
    member.watch.left(trying=True)  # its caller has left: nothing is known, and the next one tries
    scene["one"].works()
    assert await scene.chat() == "one"


async def test_a_server_that_always_breaks_in_mid_stream_is_taken_out_again():
    """A first delta brings it back, but only a whole answer makes its past forgotten."""
    scene = Scene(one={})
    scene["one"].will([TextDelta("half"), broken()])
    for _ in range(3):
        assert await scene.outcome() == "EngineFailed"
    assert scene.states() == ["ejected"]
    scene.clock.now += 5
    assert await scene.outcome() == "EngineFailed"
    assert scene.states() == ["ejected"]
    assert scene.pool.statuses()[0].out_for_s == 10


@pytest.mark.parametrize("kind", [errors.Overloaded, errors.ModelUnavailable])
async def test_a_server_that_asks_for_time_has_it(kind: type[errors.ZaffreError]):
    scene = Scene(one={}, spare={"priority": 1})
    scene["one"].will(kind.restore(errors.ZaffreError("Later.", retry_after_s=7)))
    assert [await scene.chat() for _ in range(3)] == ["spare"] * 3
    assert scene["one"].asked == 1
    assert scene.states() == ["waiting", "ready"]
    scene["one"].works()
    scene.clock.now += 7
    assert await scene.chat() == "one"
    assert scene.states() == ["ready", "ready"]


async def test_all_asking_for_time_is_too_many_requests():
    scene = Scene(one={}, two={})
    for server, seconds in zip(scene.servers.values(), (9, 4), strict=True):
        limit = errors.ZaffreError("Later.", retry_after_s=seconds)
        server.will(errors.Overloaded.restore(limit))
    await scene.outcome()
    with pytest.raises(errors.Overloaded) as raised:
        await scene.chat()
    assert raised.value.retry_after_s == 4


async def test_too_many_requests_alone_take_nobody_out():
    scene = Scene(one={})
    scene["one"].will(errors.Overloaded.restore(errors.ZaffreError("Full.")))
    assert [await scene.outcome() for _ in range(9)] == ["Overloaded"] * 9
    assert scene["one"].asked == 9


async def test_a_caller_who_leaves_proves_nothing():
    scene = Scene(one={})
    scene["one"].will(broken(), broken(), [TextDelta("a"), TextDelta("b")])
    for _ in range(2):
        await scene.outcome()
    async with aclosing(scene.pool.stream(HELLO)) as deltas:
        await anext(deltas)
    (status,) = scene.pool.statuses()
    assert (status.calls, status.consecutive_failures, status.state) == (0, 2, "ready")


async def test_status_tells_what_operators_need():
    scene = Scene(one={"model": "theirs", "weight": 2, "dialect": "azure-openai"}, two={})
    scene["one"].will(broken("The server failed."))
    scene["two"].will([TextDelta("x"), Finish("stop"), Usage(1, estimated=True)])
    for _ in range(4):
        assert await scene.chat() == "x"
    one, two = scene.pool.statuses()
    assert (one.url, one.model, one.dialect) == ("https://one.example", "theirs", "azure-openai")
    assert (one.state, one.total_calls, one.total_failures) == ("ejected", 3, 3)
    assert (one.consecutive_failures, one.out_for_s, one.cause) == (3, 5.0, "The server failed.")
    assert (two.model, two.total_calls, two.estimated_answers, two.cause) == ("m", 4, 4, "")


async def test_a_pool_starts_when_nobody_answers():
    scene = Scene(one={"operations": ("embed",)})
    scene["one"].probed = errors.ModelUnreachable("No.")
    assert scene.pool.capabilities is None
    assert (await scene.pool.start()).operations == {"embed"}
    assert scene.pool.capabilities
    await scene.pool.aclose()
    assert scene["one"].closed


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "ftp://x"},
        {"url": "x.example/v1"},
        {"url": "http://"},
        {"url": "http://x:99999"},
        {"url": "http://user:secret@x"},
        {"url": "http://x/#part"},
        {"url": "http://x", "key_env": "ABSENT"},
        {"url": "http://x", "key_env": "EMPTY"},
        {"url": "http://x", "key_env": "BROKEN"},
        {"url": "http://x", "key_env": "KEY", "key_file": "/nowhere"},
        {"url": "http://x", "key_file": "/nowhere"},
        {"url": "http://x", "weight": 0},
        {"url": "http://x", "max_calls": 0},
        {"url": "http://x", "timeout_s": 0},
        {"url": "http://x", "operations": ("embed_images",)},
        {"url": "http://x", "parameters": ("temprature",)},
        {"url": "http://x", "content_parts": ("smell",)},
        {"url": "http://x", "formats": ("xml",)},
    ],
    ids=str,
)
async def test_a_declaration_that_cannot_be_is_refused(fields: dict[str, object]):
    environ = {"EMPTY": " \n", "BROKEN": "se\r\ncret", "KEY": "k"}
    with pytest.raises(ConfigurationError) as raised:
        UpstreamPool("m", [Upstream(**fields)], environ)
    assert "secret" not in raised.value.message
    with pytest.raises(ConfigurationError):
        UpstreamPool("m", [], environ)
