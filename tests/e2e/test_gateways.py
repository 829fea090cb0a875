"""Two gateway processes on one port: they answer as one, whatever happens to either."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from servers import ZAFFRE, RunningServer, running_server
from zaffre.core.metering import UsageQuery
from zaffre.metering.ledger_file import FILE_NAME, read_usage

PATIENCE_S = 30
LOADERS = 8
MAX_CONNECTIONS = 200
"""Tries for a connection to a certain process; each has it with one half."""
CHAT = "/endpoints/shop/chat/completions"
MORE = "/openai/deployments/more/chat/completions?api-version=2024-10-21"
ENDPOINT = {"type": "managedOnlineEndpoint", "name": "shop", "auth_mode": "key"}


def deployment(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "managedOnlineDeployment",
        "name": name,
        "endpoint_name": "shop",
        "model": "echo",
        "instance_count": 1,
        **fields,
    }


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


class Line:
    """A connection to one of the gateway processes."""

    def __init__(self, connection: http.client.HTTPConnection, key: str) -> None:
        self.connection = connection
        self._key = key

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {"api-key": self._key, **shown})

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        self.send(method, path, body, **headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def chat(self, text: str, path: str = CHAT, **headers: str) -> int:
        return self.ask("POST", path, said(text), **headers)[0]


class Pair:
    """A server of two gateway processes."""

    def __init__(self, server: RunningServer, home: Path) -> None:
        self.server = server
        self.home = home

    @property
    def first(self) -> int:
        return self.server.process.pid

    @property
    def second(self) -> int:
        (pid,) = self.siblings()
        return pid

    def siblings(self) -> list[int]:
        children = psutil.Process(self.first).children()
        return [child.pid for child in children if "zaffre.cli.sibling" in _command(child)]

    @contextlib.contextmanager
    def line_to(self, pid: int) -> Iterator[Line]:
        """Connect until this process is the one that answers."""
        with contextlib.ExitStack() as others:
            for _ in range(MAX_CONNECTIONS):
                connection = http.client.HTTPConnection(
                    "127.0.0.1", self.server.port, timeout=PATIENCE_S
                )
                others.enter_context(closing(connection))
                line = Line(connection, self.server.key)
                assert line.ask("GET", "/health")[0] == 200
                if answers(pid, connection):
                    yield line
                    return
            pytest.fail(f"process {pid} answered none of {MAX_CONNECTIONS} connections")

    @contextlib.contextmanager
    def lines(self) -> Iterator[tuple[Line, Line]]:
        """One to the first process, one to its sibling."""
        with self.line_to(self.first) as first, self.line_to(self.second) as second:
            yield first, second

    def apply(self, *documents: dict[str, Any]) -> None:
        status, content, _ = self.server.ask("POST", "/admin/documents", {"documents": documents})
        assert status == 200, content

    def settle(self, name: str) -> None:
        path = f"/admin/endpoints/shop/deployments/{name}"
        until(lambda: self.server.get(path)["provisioning_state"] != "Updating")
        assert self.server.get(path)["provisioning_state"] == "Succeeded"

    def replicas(self, name: str) -> list[dict[str, Any]]:
        every = self.server.get("/admin/replicas")["replicas"]
        return [replica for replica in every if replica["deployment"] == f"shop/{name}"]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # gone between two lines
        return []


def answers(pid: int, connection: http.client.HTTPConnection) -> bool:
    """Whether this process has the other end of a connection."""
    here = connection.sock.getsockname()
    return any(c.raddr == here for c in psutil.Process(pid).net_connections("tcp"))


@contextlib.contextmanager
def pair_in(folder: Path) -> Iterator[Pair]:
    file = folder / "zaffre.yaml"
    file.write_text("settings: {gateways: 2}\ndeployments: [{name: plain, model: echo}]\n")
    home = folder / "home"
    with running_server(home, folder / "log", "-f", str(file)) as server:
        yield Pair(server, home)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A server for tests that leave both processes alive."""
    with pair_in(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture
def pair(lasting: Pair) -> Pair:
    """The same, with one endpoint as new."""
    for name in ("shop", "rationed"):
        lasting.server.ask("DELETE", f"/admin/endpoints/{name}")
    lasting.apply(ENDPOINT, deployment("blue"))
    lasting.settle("blue")
    lasting.apply(ENDPOINT | {"traffic": {"blue": 100}})
    return lasting


@contextlib.asynccontextmanager
async def load(pair: Pair) -> AsyncIterator[Counter[str]]:
    """Callers who ask all the time, half of them on a new connection each time; what they met."""
    met: Counter[str] = Counter()
    going = True

    async def ask(number: int) -> None:
        stream = number % 2 == 0
        body = said("/slow 2 one two three four", stream=stream)
        connector = aiohttp.TCPConnector(force_close=number % 4 < 2)
        async with aiohttp.ClientSession(
            pair.server.endpoint, headers={"api-key": pair.server.key}, connector=connector
        ) as session:
            while going:
                async with session.post(CHAT, json=body) as response:
                    text = await response.text()
                    whole = text.endswith("data: [DONE]\n\n") if stream else "four" in text
                    met[f"{response.status} {'whole' if whole else text}"] += 1

    asking = [asyncio.create_task(ask(number)) for number in range(LOADERS)]
    try:
        yield met
    finally:
        going = False
        await asyncio.gather(*asking)


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(work, *arguments)


def test_both_answer_with_the_same_models(pair: Pair):
    with pair.lines() as lines:
        for line in lines:
            assert line.chat("hi") == 200
            assert line.chat("hi", "/chat/completions") == 200
            assert [m["id"] for m in line.ask("GET", "/models")[1]["data"]] == ["plain", "shop"]


def test_either_takes_what_is_for_the_administrator(pair: Pair):
    """Given a change sent to the sibling, when both are asked, then both go by it."""
    with pair.lines() as (first, second):
        status, applied = second.ask(
            "POST", "/admin/documents", {"documents": [deployment("green")]}
        )
        assert (status, applied["deployments"][0]["name"]) == (200, "green")
        pair.settle("green")
        for line in (first, second):
            assert line.chat("hi", azureml_model_deployment="green") == 200
            assert line.ask("GET", "/admin/endpoints?kind=managed")[1][0]["name"] == "shop"
            assert line.ask("GET", "/health/replicas")[1]["replicas"]
            assert line.ask("GET", "/admin/nowhere")[0] == 404
            assert line.ask("GET", "/admin/replicas", api_key="wrong")[0] == 401


async def test_rolling_updates_under_load_fail_no_request(pair: Pair):
    """Given callers of both all the time, whose quotas are counted as well, when the workers are
    replaced, then nobody notices."""
    limits = {"limits": minute(1_000_000)}
    await in_thread(pair.apply, ENDPOINT | {"traffic": {"blue": 100}, "zaffre": limits})
    before = {replica["pid"] for replica in pair.replicas("blue")}
    async with load(pair) as met:
        for version in range(5):
            changed = deployment("blue", environment_variables={"VERSION": str(version)})
            await in_thread(pair.apply, changed)
            await in_thread(pair.settle, "blue")
    assert set(met) == {"200 whole"}
    assert before.isdisjoint(replica["pid"] for replica in pair.replicas("blue"))


async def test_fifty_changes_under_load_fail_no_request(pair: Pair):
    async with load(pair) as met:
        for number in range(50):
            await in_thread(pair.apply, deployment("blue", instance_count=1 + number % 3))
    assert set(met) == {"200 whole"}


def test_a_replaced_worker_ends_after_the_siblings_last_call(pair: Pair):
    """Given a long answer through the sibling, when its worker is replaced, then it is whole, and
    only then the worker ends."""
    (old,) = pair.replicas("blue")
    with pair.line_to(pair.second) as line:
        line.send("POST", CHAT, said("/slow 100 " + "word " * 30, stream=True))
        response = line.connection.getresponse()
        response.read1()
        pair.apply(deployment("blue", environment_variables={"VERSION": "new"}))
        pair.settle("blue")
        assert psutil.pid_exists(old["pid"])
        assert response.read().endswith(b"data: [DONE]\n\n")
    until(lambda: not psutil.pid_exists(old["pid"]))


def test_a_quota_is_one_for_both(pair: Pair):
    """Given 100 requests a minute, when 200 come at a time over both, then 100 get through."""
    rationed = {"name": "rationed", "zaffre": {"limits": minute(100)}}
    pair.apply(ENDPOINT | rationed, deployment("blue", endpoint_name="rationed"))
    pair.apply(ENDPOINT | rationed | {"traffic": {"blue": 100}})
    answered = asyncio.run(all_at_once(pair, 200, "/endpoints/rationed/chat/completions"))
    assert answered == {200: 100, 429: 100}


def minute(requests: int) -> dict[str, int]:
    return {"requests_per_minute": requests}


def test_a_bound_on_calls_is_one_for_both(pair: Pair):
    settings = {"max_concurrent_requests_per_instance": 1}
    pair.apply(deployment("blue", request_settings=settings))
    pair.settle("blue")
    with pair.lines() as lines:
        for line in lines:
            line.send("POST", CHAT, said("/slow 500 one two three"))
        until(lambda: sum(replica["active"] for replica in pair.replicas("blue")) == 2)
        with pair.lines() as more:
            assert [line.chat("one too many") for line in more] == [429, 429]
        assert [line.connection.getresponse().status for line in lines] == [200, 200]


async def all_at_once(pair: Pair, number: int, path: str = CHAT) -> Counter[int]:
    """Ask so many times, each on a connection of its own; how often each status came."""

    async def ask() -> int:
        async with (
            aiohttp.ClientSession(headers={"api-key": pair.server.key}) as session,
            session.post(pair.server.endpoint + path, json=said("hi")) as response,
        ):
            await response.read()
            return response.status

    return Counter(await asyncio.gather(*(ask() for _ in range(number))))


def test_a_revoked_key_is_refused_by_both_at_once(pair: Pair):
    with pair.lines() as (first, second):
        status, made = second.ask("POST", "/admin/keys", {"name": "guest"})
        assert status == 200, made
        for line in (first, second):
            assert line.chat("hi", api_key=made["key"]) == 200
        assert first.ask("DELETE", "/admin/keys/guest")[0] == 200
        for line in (first, second):
            assert line.chat("hi", api_key=made["key"]) == 401


def test_the_ledger_has_all_requests_of_both(pair: Pair):
    before = rows(pair)
    with pair.lines() as lines:
        for line in lines:
            for _ in range(10):
                assert line.chat("one two") == 200
    assert asyncio.run(all_at_once(pair, 80)) == {200: 80}
    assert rows(pair) - before == 100


def rows(pair: Pair) -> int:
    return sum(day.requests for day in read_usage(pair.home / FILE_NAME, UsageQuery("day"), {}))


def test_use_through_the_sibling_counts(pair: Pair):
    (before,) = pair.replicas("blue")
    with pair.line_to(pair.second) as line:
        assert line.chat("one two three") == 200
    until(lambda: pair.replicas("blue")[0]["tokens"] - before["tokens"] == 3)


def test_first_use_through_both_loads_once(pair: Pair):
    pair.apply(deployment("lazy", zaffre={"loading": "first_use", "idle_unload_s": 1}))
    with pair.lines() as lines:
        for line in lines:
            line.send("POST", CHAT, said("hi"), azureml_model_deployment="lazy")
        assert [line.connection.getresponse().status for line in lines] == [200, 200]
        assert [replica["name"] for replica in pair.replicas("lazy")] == ["shop/lazy-1"]


def test_what_the_sibling_uses_is_not_unloaded(pair: Pair):
    """Given an answer through the sibling that takes longer than idleness may, when it has come
    whole, then its worker is the one that began it; afterwards it is unloaded."""
    pair.apply(deployment("lazy", zaffre={"loading": "first_use", "idle_unload_s": 1}))
    with pair.line_to(pair.second) as line:
        text = "/slow 100 " + "word " * 30
        assert line.chat(text, azureml_model_deployment="lazy") == 200
        assert [replica["name"] for replica in pair.replicas("lazy")] == ["shop/lazy-1"]
    until(lambda: pair.replicas("lazy") == [])


def test_a_killed_worker_comes_back_for_both(pair: Pair):
    (replica,) = pair.replicas("blue")
    with pair.lines() as lines:
        os.kill(replica["pid"], signal.SIGKILL)
        until(lambda: pair.replicas("blue")[0]["pid"] not in (None, replica["pid"]))
        assert [line.chat("again") for line in lines] == [200, 200]


def test_a_hangup_is_for_both(pair: Pair):
    file = pair.home.parent / "zaffre.yaml"
    text = file.read_text()
    file.write_text(text.replace("}]", "}, {name: more, model: echo}]"))
    os.kill(pair.second, signal.SIGHUP)  # not the sibling's business
    pair.server.process.send_signal(signal.SIGHUP)
    with pair.lines() as lines:
        for line in lines:
            until(
                lambda line=line: (
                    line.chat(
                        "hi", "/openai/deployments/more/chat/completions?api-version=2024-10-21"
                    )
                    == 200
                )
            )  # type: ignore[misc]
    file.write_text(text)
    pair.server.ask("POST", "/admin/reload")


def test_a_killed_sibling_is_replaced(tmp_path: Path):
    """Given a stream through the sibling, when the sibling is killed, then that stream breaks, the
    port goes on being served, and another sibling takes its place."""
    with pair_in(tmp_path) as pair:
        old = pair.second
        with pair.line_to(old) as line:
            line.send("POST", "/chat/completions", said("/slow 50 " + "word " * 100, stream=True))
            response = line.connection.getresponse()
            response.read1()
            os.kill(old, signal.SIGKILL)
            for _ in range(20):
                assert pair.server.ask("POST", "/chat/completions", said("on"))[0] == 200
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                response.read()
        until(lambda: pair.siblings() not in ([], [old]))
        with pair.line_to(pair.second) as line:
            assert line.chat("again", "/chat/completions") == 200
        pair.apply(ENDPOINT, deployment("blue"))  # nobody waits for the dead one
        pair.settle("blue")
        pair.apply(deployment("blue", environment_variables={"VERSION": "new"}))
        pair.settle("blue")


def test_nothing_outlives_the_first_process(tmp_path: Path):
    with pair_in(tmp_path) as pair:
        children = psutil.Process(pair.first).children(recursive=True)
        assert len(children) >= 2
        os.kill(pair.first, signal.SIGKILL)
        gone, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert (len(gone), alive) == (len(children), [])


def test_a_stop_lets_both_finish(tmp_path: Path):
    """Given a stream through each, when the server is told to stop, then both end whole."""
    with pair_in(tmp_path) as pair, pair.lines() as lines:
        responses = []
        for line in lines:
            line.send("POST", "/chat/completions", said("/slow 50 " + "word " * 20, stream=True))
            responses.append(line.connection.getresponse())
            responses[-1].read1()
        pair.server.process.terminate()
        assert all(response.read().endswith(b"data: [DONE]\n\n") for response in responses)
        assert pair.server.process.wait(PATIENCE_S) == 0


def test_counts_that_only_one_process_sees_are_refused(tmp_path: Path):
    file = tmp_path / "zaffre.yaml"
    alone = "settings: {gateways: 2, quota_url: 'memory:'}"
    file.write_text(f"{alone}\ndeployments: [{{name: plain, model: echo}}]\n")
    done = subprocess.run(
        [ZAFFRE, "serve", "--port", "0", "--key", "k" * 32, "-f", str(file)],
        env={**os.environ, "ZAFFRE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "gateways is more than 1" in done.stderr
