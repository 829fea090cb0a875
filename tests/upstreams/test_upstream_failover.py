"""Pools over real connections: what one server does to others, and what callers notice."""

from pathlib import Path

import pytest
from fault_server import (
    GOOD_ANSWER,
    GOOD_STREAM,
    STREAM_HEAD,
    FaultServer,
    Step,
    Then,
    event,
    refusal,
    said,
    whole,
)
from pool_calls import HELLO, SECRET, OpenPool, chat, cut, text_of

from zaffre.core.deltas import TextDelta
from zaffre.core.errors import EngineFailed, InvalidRequest, ModelUnavailable, Overloaded
from zaffre.core.plan import Upstream

SOON_S = 0.15
FAILURES: dict[str, list[Step]] = {
    "429": refusal(429, Retry_After=60),
    "500": refusal(500),
    "502 page": whole(b"<html>bad gateway</html>", 502, "text/html"),
    "503": refusal(503),
    "401": refusal(401),
    "404": refusal(404),
    "reset": [Then.RESET],
    "closed": [Then.CLOSE],
    "stalled": [Then.STALL],
    "head only": [STREAM_HEAD, Then.STALL],
    "garbage": [b"\x00\x00\x00\r\n\r\n", Then.CLOSE],
    "sign-in page": whole(b"<html>", content_type="text/html"),
}


def both(fault: FaultServer, spare: FaultServer, **fields: object) -> tuple[Upstream, Upstream]:
    return (
        Upstream(url=f"{fault.url}/v1", timeout_s=SOON_S, **fields),
        Upstream(url=f"{spare.url}/v1", priority=1, **fields),
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_nobody_has_seen_is_nobodys_trouble(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool, failure: list[Step], stream: bool
):
    fault.will(failure)
    spare.will(GOOD_STREAM if stream else GOOD_ANSWER)
    pool = pooled(*both(fault, spare))
    assert text_of(await chat(pool, stream=stream)) == "Hi"
    one, two = pool.statuses()
    assert (one.total_failures, two.total_failures) == (1, 0)
    assert one.cause


async def test_a_failure_that_a_caller_has_seen_is_told(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will([STREAM_HEAD, event(said("Hi")), Then.STALL])
    spare.will(GOOD_STREAM)
    came, _ = await cut(pooled(*both(fault, spare)))
    assert came == [TextDelta("Hi")]
    assert not spare.asked


async def test_what_the_caller_got_wrong_is_asked_once(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will(refusal(400, "Not like this."))
    with pytest.raises(InvalidRequest, match="Not like this"):
        await chat(pooled(*both(fault, spare)))
    assert not spare.asked


async def test_a_server_that_asks_for_time_is_left_alone(
    fault: FaultServer, spare: FaultServer, pooled: OpenPool
):
    fault.will(FAILURES["429"])
    spare.will(GOOD_STREAM)
    pool = pooled(*both(fault, spare))
    for _ in range(4):
        await chat(pool)
    assert len(fault.asked) == 1
    (status, _) = pool.statuses()
    assert status.state == "waiting"
    assert 50 < status.out_for_s <= 60


async def test_when_all_ask_for_time_the_caller_is_told_how_long(
    fault: FaultServer, pooled: OpenPool
):
    fault.will(FAILURES["429"])
    pool = pooled(Upstream(url=f"{fault.url}/v1"))
    for _ in range(2):
        with pytest.raises(Overloaded) as raised:
            await chat(pool)
        assert raised.value.retry_after_s == 60
    assert len(fault.asked) == 1


async def test_a_server_that_is_gone_is_soon_not_asked_any_more(
    unused_tcp_port: int, pooled: OpenPool
):
    pool = pooled(Upstream(url=f"http://127.0.0.1:{unused_tcp_port}"))
    for _ in range(4):
        with pytest.raises(ModelUnavailable):
            await chat(pool)
    (status,) = pool.statuses()
    assert (status.state, status.total_calls) == ("ejected", 3)


async def test_statuses_have_no_secret(fault: FaultServer, pooled: OpenPool):
    fault.will(refusal(500, f"Key {SECRET} at {fault.url}"))
    pool = pooled(Upstream(url=f"{fault.url}/v1?token=s3cret", key_env="KEY"))
    with pytest.raises(EngineFailed):
        await chat(pool, HELLO)
    assert fault.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    shown = str(pool.statuses())
    assert SECRET not in shown
    assert "s3cret" not in shown


async def test_a_credential_may_stand_in_a_file(
    fault: FaultServer, pooled: OpenPool, tmp_path: Path
):
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    fault.will(GOOD_STREAM)
    await chat(pooled(Upstream(url=fault.url, key_file=str(file))))
    assert fault.asked[0].headers["authorization"] == "Bearer from-a-file"


async def test_a_start_asks_what_there_is(fault: FaultServer, pooled: OpenPool):
    fault.will(whole({"data": [{"id": "our-name", "max_model_len": 512}]}))
    assert (await pooled(Upstream(url=f"{fault.url}/v1")).start()).context_length == 512
    assert fault.asked[-1].path == "/v1/models"
    fault.will(
        whole({"model_name": "x", "model_type": "embeddings", "model_provider_name": "acme"}),
        refusal(404),
    )
    found = await pooled(Upstream(url=fault.url, dialect="azure-inference")).start()
    assert (found.operations, found.provider) == ({"embed"}, "acme")
    assert fault.asked[-2].path == "/info?api-version=2025-04-01&model=our-name"


@pytest.mark.parametrize("answer", [refusal(401), whole(b"<html>"), [Then.RESET]], ids=str)
async def test_a_start_does_not_depend_on_the_answer(
    fault: FaultServer, pooled: OpenPool, answer: list[Step]
):
    fault.will(answer)
    for dialect in ("openai", "azure-inference", "azure-openai"):
        pool = pooled(Upstream(url=fault.url, dialect=dialect))
        assert (await pool.start()).operations == {"chat", "complete"}
