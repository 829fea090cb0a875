"""Settling: how long a command waits for what it changed, and what it says then."""

import httpx2
import pytest

from zaffre.cli.admin_client import AdminClient, AdminFailed
from zaffre.cli.settling import LONGEST_PAUSE_S, WAIT_LIMIT_S, settle


class Server:
    """Shows the states it is given, one after the other, and the last one for ever."""

    def __init__(self, *states: str, cause: str = "") -> None:
        self._states = list(states)
        self._cause = cause
        self.asked: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        shown = {"name": "blue", "provisioning_state": state}
        if self._cause:
            shown["provisioning_error"] = self._cause
        return httpx2.Response(200, json=shown)


class Watch:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def pause(self, duration_s: float) -> None:
        self.pauses.append(duration_s)
        self.now_s += duration_s

    def clock(self) -> float:
        return self.now_s


def settled(server: Server, watch: Watch, endpoint: str | None = "chat") -> dict[str, str]:
    transport = httpx2.MockTransport(server)
    with AdminClient("http://z", "k", "K", transport=transport) as client:
        return settle(client, endpoint, "blue", pause=watch.pause, clock=watch.clock)


def test_it_waits_until_the_change_has_gone_through() -> None:
    server, watch = Server("Updating", "Updating", "Succeeded"), Watch()
    assert settled(server, watch)["provisioning_state"] == "Succeeded"
    assert server.asked == ["/admin/endpoints/chat/deployments/blue"] * 3
    assert watch.pauses == [0.1, 0.2]


def test_a_failure_is_told_with_its_cause_and_where_to_read_more() -> None:
    with pytest.raises(AdminFailed) as failed:
        settled(Server("Updating", "Failed", cause="no memory"), Watch())
    assert failed.value.message.splitlines() == [
        "chat/blue has failed: no memory",
        "Its log: zaffre online-deployment get-logs -n blue -e chat",
    ]
    with pytest.raises(AdminFailed, match=r"^blue has failed: the server does not say why"):
        settled(Server("Failed"), Watch(), endpoint=None)


def test_it_does_not_wait_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    """Given a change that never ends, when its bound is over, then waiting ends, and people were
    told once what they wait for."""
    watch = Watch()
    with pytest.raises(AdminFailed, match="still not ready after 1800 seconds"):
        settled(Server("Updating"), watch)
    assert WAIT_LIMIT_S <= watch.now_s <= WAIT_LIMIT_S + LONGEST_PAUSE_S
    assert capsys.readouterr().err == "chat/blue: waiting until it is ready\n"
