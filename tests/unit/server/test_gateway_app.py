"""The ASGI application: the fence around it, and what it does with bodies that do not come."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from in_process import CHAT, Exchange, app, speaking

from zaffre.asgi.exchange import Message
from zaffre.routing.table import Deployment, Table
from zaffre.service.gateway import Gateway


class BrokenTable(Table):
    """A table with a bug."""

    def resolve(self, *_: Any) -> Deployment:
        raise ZeroDivisionError("secret detail")


@pytest.fixture
def gateway() -> Gateway:
    return speaking()


@pytest.fixture
async def quiet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "zaffre"):
        yield caplog


async def test_a_bug_leaves_as_an_internal_error_that_only_the_log_explains(
    quiet: pytest.LogCaptureFixture,
):
    exchange = Exchange("POST", "/chat/completions", CHAT)
    await app(Gateway(BrokenTable([])))(exchange.scope, exchange.receive_whole, exchange.send)
    status, body = exchange.answer
    assert status == 500
    assert body["error"]["code"] == "internal_error"
    assert "secret" not in str(body)
    (record,) = quiet.records
    request_id = dict(exchange.sent[0]["headers"])[b"x-request-id"].decode()
    assert request_id in body["message"]
    assert request_id in record.getMessage()
    assert record.exc_info


async def test_a_path_cannot_write_lines_into_the_log(quiet: pytest.LogCaptureFixture):
    exchange = Exchange("POST", "/chat/completions", CHAT)
    exchange.scope["path"] = "/openai/deployments/a\nFAKE LINE/chat/completions"
    await app(Gateway(BrokenTable([])))(exchange.scope, exchange.receive_whole, exchange.send)
    assert exchange.answer[0] == 500
    assert all("\n" not in record.getMessage() for record in quiet.records)


async def test_a_body_that_does_not_come_is_not_waited_for(gateway: Gateway):
    exchange = Exchange("POST", "/chat/completions", b"{", b'"mess')
    impatient = app(gateway, body_timeout_s=0.01)
    await impatient(exchange.scope, exchange.receive, exchange.send)
    status, body = exchange.answer
    assert status == 400
    assert "did not come" in body["message"]


async def test_a_body_is_bounded_whatever_it_says_of_itself(gateway: Gateway):
    for pieces, headers in (
        ([b"x"], {"content_length": "1001"}),
        ([b"x" * 600, b"x" * 600], {}),
        ([b"x" * 600, b"x" * 600], {"content_length": "10"}),
    ):
        exchange = Exchange("POST", "/chat/completions", *pieces, **headers)
        await app(gateway)(exchange.scope, exchange.receive, exchange.send)
        assert exchange.answer[0] == 413


async def test_who_leaves_before_the_body_is_whole_gets_no_answer(gateway: Gateway):
    exchange = Exchange("POST", "/chat/completions")

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    await app(gateway)(exchange.scope, gone, exchange.send)
    assert exchange.sent == []


async def test_a_model_that_does_not_run_is_unavailable(gateway: Gateway):
    (deployment,) = gateway.table.deployments()
    deployment.replicas[0].capabilities = None  # it has never run
    deployment.replicas[0].ended("It has no file.")
    exchange = Exchange("POST", "/chat/completions", CHAT)
    await app(gateway)(exchange.scope, exchange.receive_whole, exchange.send)
    assert exchange.answer[0] == 503


async def test_other_protocols_are_ignored(gateway: Gateway):
    exchange = Exchange("GET", "/")
    await app(gateway)({"type": "websocket"}, exchange.receive, exchange.send)
    assert exchange.sent == []
