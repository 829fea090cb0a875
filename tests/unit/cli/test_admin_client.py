"""The admin API's client: what it sends, and one sentence for everything that goes wrong."""

import json
from collections.abc import Callable

import httpx2
import pytest

from zaffre.cli.admin_client import (
    AdminClient,
    AdminFailed,
    connect,
    deployment_path,
    endpoint_path,
)
from zaffre.config.settings import ConfigurationError

URL = "http://zaffre.test:8080"
Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer, url: str = URL) -> AdminClient:
    return AdminClient(url, "a-key", "ZAFFRE_KEY", transport=httpx2.MockTransport(answer))


def refusal(status: int, code: str, message: str) -> Answer:
    body = {"error": {"code": code, "message": message}, "status": status}
    return lambda _request: httpx2.Response(status, json=body)


def sentence(answer: Answer) -> str:
    with client(answer) as admin, pytest.raises(AdminFailed) as failed:
        admin.get("replicas")
    return failed.value.message


def test_a_change_carries_key_path_and_body() -> None:
    """Given an address with a path, when a change is sent, then it goes below that path, with the
    key in a header."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"done": True})

    with client(answer, f"{URL}/behind/") as admin:
        assert admin.change("PATCH", endpoint_path("chat"), {"traffic": {}}) == {"done": True}
        admin.get("endpoints", {"kind": "serverless"})

    assert str(seen[0].url) == f"{URL}/behind/admin/endpoints/chat"
    assert (seen[0].method, seen[0].headers["api-key"]) == ("PATCH", "a-key")
    assert json.loads(seen[0].content) == {"traffic": {}}
    assert seen[1].url.query == b"kind=serverless"


def test_a_server_that_is_not_there() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("Connection refused", request=request)

    assert sentence(answer) == (
        f"no server answers at {URL}: start one with 'zaffre serve', or say where it is with --url"
        " or ZAFFRE_URL."
    )


def test_a_certificate_that_nobody_vouches_for() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        text = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"
        raise httpx2.ConnectError(text, request=request)

    assert "SSL_CERT_FILE" in sentence(answer)


def test_a_server_that_says_nothing_or_breaks_off() -> None:
    def silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("", request=request)

    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.RemoteProtocolError("Server disconnected", request=request)

    assert "sent nothing for 30 seconds" in sentence(silent)
    assert "broke off: Server disconnected. Does it speak https?" in sentence(broken)


def test_refusals_are_told_apart() -> None:
    wrong_key = sentence(refusal(401, "unauthenticated", "no"))
    no_admin = sentence(refusal(401, "permission_denied", "no"))
    assert wrong_key == f"{URL} refuses the key in ZAFFRE_KEY."
    assert no_admin.startswith("the key in ZAFFRE_KEY may not do this;")
    assert "--permission admin" in no_admin
    assert (
        sentence(refusal(409, "conflict", "'blue' still gets 90 %.")) == "'blue' still gets 90 %."
    )


def test_whoever_is_no_zaffre() -> None:
    for status in (200, 404, 502):
        told = sentence(lambda _, status=status: httpx2.Response(status, text="<html>"))
        assert f"is no Zaffre server: it answered with status {status}" in told


def test_what_is_not_there_can_be_looked_for() -> None:
    """Given a name of nothing, when it is looked for, then there is nothing; other refusals are
    still refusals."""
    with client(refusal(404, "not_found", "not there")) as admin:
        assert admin.find("endpoints/chat") is None
    with client(refusal(409, "conflict", "no")) as admin, pytest.raises(AdminFailed):
        admin.find("endpoints/chat")


def test_authorities_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE .* cannot be used: No such file"):
        AdminClient(URL, "a-key", "ZAFFRE_KEY")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a?b", "a b", "ä"])
def test_a_name_cannot_lead_elsewhere(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a name"):
        endpoint_path(name)
    with pytest.raises(ConfigurationError, match="cannot be a name"):
        deployment_path("chat", name)


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://host", "http://", "http://k:s@host", "http://host?a=b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        client(refusal(500, "x", "x"), url)


def test_the_admin_key_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no key, then the variable is named; given both, the admin's is used."""
    monkeypatch.delenv("ZAFFRE_KEY", raising=False)
    monkeypatch.delenv("ZAFFRE_ADMIN_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="ZAFFRE_ADMIN_KEY"):
        connect(URL)
    monkeypatch.setenv("ZAFFRE_KEY", "one")
    monkeypatch.setenv("ZAFFRE_ADMIN_KEY", "ends with a line\n")
    with pytest.raises(ConfigurationError, match="ZAFFRE_ADMIN_KEY has spaces") as failed:
        connect(URL)
    assert "ends with" not in failed.value.message
