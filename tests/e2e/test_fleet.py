"""Endpoints and deployments in real processes: changed, loaded, broken and mended under load."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from servers import RunningServer, running_server

PATIENCE_S = 20
ENDPOINT = {"type": "managedOnlineEndpoint", "name": "shop", "auth_mode": "key"}
LOADERS = 8


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


class Shop:
    """A server, and what its administrator does."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server

    def apply(self, *documents: dict[str, Any]) -> Any:
        status, content, _ = self.server.ask("POST", "/admin/documents", {"documents": documents})
        assert status == 200, content
        return content

    def traffic(self, **shares: int) -> None:
        status, content, _ = self.server.ask("PATCH", "/admin/endpoints/shop", {"traffic": shares})
        assert status == 200, content

    def state(self, name: str) -> str:
        found = self.server.get(f"/admin/endpoints/shop/deployments/{name}")
        return str(found["provisioning_state"])

    def settle(self, *names: str) -> None:
        until(lambda: all(self.state(name) != "Updating" for name in names))
        assert {self.state(name) for name in names} == {"Succeeded"}

    def replicas(self, name: str) -> list[dict[str, Any]]:
        every = self.server.get("/admin/replicas")["replicas"]
        return [r for r in every if r["deployment"] in (name, f"shop/{name}")]

    def chat(self, text: str, path: str = "/endpoints/shop", **headers: str) -> Any:
        return self.server.ask("POST", f"{path}/chat/completions", said(text), **headers)


@contextlib.contextmanager
def shop_with(folder: Path, settings: str = "") -> Iterator[Shop]:
    file = folder / "zaffre.yaml"
    file.write_text(f"settings: {{{settings}}}\ndeployments: [{{name: plain, model: echo}}]\n")
    with running_server(folder / "home", folder / "log", "-f", str(file)) as server:
        yield Shop(server)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server for the tests that leave it running."""
    with shop_with(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
def shop(lasting: Shop) -> Shop:
    """The same, with one endpoint as new."""
    lasting.server.ask("DELETE", "/admin/endpoints/shop")
    lasting.apply(ENDPOINT, deployment("blue"), deployment("green"))
    lasting.traffic(blue=100)
    lasting.settle("blue", "green")
    return lasting


@contextlib.asynccontextmanager
async def load(shop: Shop) -> AsyncIterator[Counter[str]]:
    """Callers who ask all the time, whole answers and streams; what they met."""
    met: Counter[str] = Counter()
    going = True

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        stream = number % 2 == 0
        body = said("/slow 2 one two three four", stream=stream)
        while going:
            async with session.post("/endpoints/shop/chat/completions", json=body) as response:
                text = await response.text()
                whole = text.endswith("data: [DONE]\n\n") if stream else "four" in text
                met[f"{response.status} {'whole' if whole else text}"] += 1

    async with aiohttp.ClientSession(
        shop.server.endpoint, headers={"api-key": shop.server.key}
    ) as session:
        asking = [asyncio.create_task(ask(session, number)) for number in range(LOADERS)]
        try:
            yield met
        finally:
            going = False
            await asyncio.gather(*asking)


async def in_thread(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(work, *arguments, **named)


async def test_a_rolling_update_fails_no_request(shop: Shop):
    """Given callers all the time, when the deployment is replaced, then nobody notices."""
    before = {replica["pid"] for replica in shop.replicas("blue")}
    async with load(shop) as met:
        for version in range(3):
            changed = deployment("blue", environment_variables={"VERSION": str(version)})
            await in_thread(shop.apply, changed)
            await in_thread(shop.settle, "blue")
    assert set(met) == {"200 whole"}
    assert before.isdisjoint(replica["pid"] for replica in shop.replicas("blue"))


async def test_a_hundred_changes_under_load_fail_no_request(shop: Shop):
    async with load(shop) as met:
        for number in range(100):
            share = number % 101
            await in_thread(shop.traffic, blue=share, green=100 - share)
    assert set(met) == {"200 whole"}


async def test_more_and_fewer_instances_under_load_fail_no_request(shop: Shop):
    async with load(shop) as met:
        for count in (3, 1, 2):
            await in_thread(shop.apply, deployment("blue", instance_count=count))
            await in_thread(until, lambda n=count: ready(shop, "blue") == n)
    assert set(met) == {"200 whole"}


def ready(shop: Shop, name: str) -> int:
    return sum(replica["state"] == "ready" for replica in shop.replicas(name))


def test_a_successor_that_cannot_start_leaves_what_runs(shop: Shop):
    """Given a running deployment, when it is changed to what cannot run, then it runs on."""
    shop.apply(deployment("blue", zaffre={"options": {"nonsense": 1}}))
    until(lambda: shop.state("blue") == "Failed")
    shown = shop.server.get("/admin/endpoints/shop/deployments/blue")
    assert "no option 'nonsense'" in shown["provisioning_error"]
    assert shop.chat("still there")[0] == 200


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (deployment("blue", model="nothing-of-this-name"), "nothing-of-this-name"),
        (ENDPOINT | {"traffic": {"blue": 50, "green": 20}}, "traffic"),
        (deployment("new", endpoint_name="nowhere"), "nowhere"),
        (deployment("new", code_configuration={"code": "src"}), "code_configuration"),
    ],
    ids=["model", "traffic", "endpoint", "code"],
)
def test_a_bad_change_changes_nothing(shop: Shop, document: dict[str, Any], complaint: str):
    good = deployment("green", instance_count=2)
    status, content, _ = shop.server.ask(
        "POST", "/admin/documents", {"documents": [good, document]}
    )
    assert 400 <= status < 500
    assert complaint in content["message"]
    assert shop.server.get("/admin/endpoints/shop/deployments/green")["instance_count"] == 1
    assert shop.chat("as before")[0] == 200


def test_traffic_header_and_session_decide(shop: Shop):
    shop.traffic(blue=0, green=100)
    assert shop.chat("hi")[2]["azureml-model-deployment"] == "green"
    straight = shop.chat("hi", azureml_model_deployment="blue")
    assert straight[2]["azureml-model-deployment"] == "blue"
    shop.traffic(blue=50, green=50)
    seen = {
        shop.chat("hi", x_zaffre_session="one")[2]["azureml-model-deployment"] for _ in range(12)
    }
    assert len(seen) == 1
    every = {shop.chat("hi")[2]["azureml-model-deployment"] for _ in range(40)}
    assert every == {"blue", "green"}
    shop.traffic(blue=0, green=0)
    status, content, _ = shop.chat("hi")
    assert (status, content["code"]) == (404, "no_traffic")


def test_a_host_name_is_its_endpoint(shop: Shop):
    status, _, headers = shop.chat("hi", path="", Host=f"shop.localhost:{shop.server.port}")
    assert (status, headers["azureml-model-group"]) == (200, "shop")
    _, conflict, _ = shop.chat("hi", path="/endpoints/other", Host="shop.localhost")
    assert "the path names another" in conflict["message"]


def test_a_mirror_sees_a_copy_and_the_caller_does_not_notice(shop: Shop):
    change = {"mirror_traffic": {"green": 50}}
    assert shop.server.ask("PATCH", "/admin/endpoints/shop", change)[0] == 200
    for _ in range(40):
        assert shop.chat("one two three")[2]["azureml-model-deployment"] == "blue"
    until(lambda: shop.replicas("green")[0]["tokens"] > 0)
    assert shop.replicas("green")[0]["tokens"] < shop.replicas("blue")[0]["tokens"] == 120


def test_managed_endpoints_have_their_own_failures(shop: Shop):
    settings = {"request_timeout_ms": 300, "max_concurrent_requests_per_instance": 1}
    shop.apply(deployment("blue", request_settings=settings))
    shop.settle("blue")
    status, content, headers = shop.chat("/fail")
    assert (status, content["code"]) == (424, "model_error")
    assert headers["ms-azureml-model-error-statuscode"] == "500"
    assert headers["ms-azureml-model-error-reason"]
    assert shop.chat("/hang")[0] == 408
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_beyond_twice_the_concurrency_comes_429(shop: Shop):
    settings = {"max_concurrent_requests_per_instance": 2}
    shop.apply(deployment("blue", request_settings=settings, instance_count=2))
    shop.settle("blue")
    async with aiohttp.ClientSession(headers={"api-key": shop.server.key}) as session:
        url = f"{shop.server.endpoint}/endpoints/shop/chat/completions"

        async def ask() -> int:
            async with session.post(url, json=said("/slow 500 one two")) as response:
                return response.status

        assert Counter(await asyncio.gather(*(ask() for _ in range(12)))) == {200: 8, 429: 4}


def test_a_killed_worker_is_one_streams_trouble(shop: Shop):
    """Given two replicas, when one is killed in mid-stream, then its stream is cut off, the next
    request is answered by the other, and both are there again."""
    shop.apply(deployment("blue", instance_count=2))
    until(lambda: ready(shop, "blue") == 2)
    connection = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=PATIENCE_S)
    body = json.dumps(said("/slow 50 " + "word " * 100, stream=True))
    path, rest = "/endpoints/shop/chat/completions", b""
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"api-key": shop.server.key})
        with connection.getresponse() as response:
            response.read1()
            (busy,) = (replica for replica in shop.replicas("blue") if replica["calls"])
            os.kill(busy["pid"], signal.SIGKILL)
            with contextlib.suppress(http.client.IncompleteRead):
                while piece := response.read1():
                    rest += piece
    assert b"[DONE]" not in rest
    assert shop.chat("next")[0] == 200
    until(lambda: ready(shop, "blue") == 2)
    assert all(replica["calls"] == 0 for replica in shop.replicas("blue"))


def test_a_worker_that_hangs_is_replaced(shop: Shop):
    probe = {"initial_delay": 0, "period": 1, "timeout": 1, "failure_threshold": 1}
    shop.apply(deployment("blue", liveness_probe=probe))
    shop.settle("blue")
    (frozen,) = shop.replicas("blue")
    os.kill(frozen["pid"], signal.SIGSTOP)
    until(lambda: shop.replicas("blue")[0]["restarts"] == 1 and ready(shop, "blue") == 1)
    assert shop.chat("again")[0] == 200


async def test_first_use_loads_once_and_idleness_unloads(shop: Shop):
    lazy = {"loading": "first_use", "idle_unload_s": 1}
    shop.apply(deployment("lazy", zaffre=lazy))
    assert shop.replicas("lazy") == []
    asking = (in_thread(shop.chat, "hi", azureml_model_deployment="lazy") for _ in range(LOADERS))
    assert {status for status, _, _ in await asyncio.gather(*asking)} == {200}
    assert [replica["name"] for replica in shop.replicas("lazy")] == ["shop/lazy-1"]
    await in_thread(until, lambda: shop.replicas("lazy") == [])
    assert shop.chat("hi", azureml_model_deployment="lazy")[0] == 200
    assert [replica["name"] for replica in shop.replicas("lazy")] == ["shop/lazy-2"]


async def test_the_memory_budget_holds(tmp_path: Path):
    """Given room for one of two models, when the other is asked for, then the idle one goes; one
    that is answering stays, and who cannot be loaded is told the numbers."""
    big = {"loading": "first_use", "memory_mib": 5000}
    with shop_with(tmp_path, "memory_budget_mib: 8000") as shop:
        shop.apply(ENDPOINT, deployment("one", zaffre=big), deployment("two", zaffre=big))
        assert shop.chat("hi", azureml_model_deployment="one")[0] == 200
        assert shop.chat("hi", azureml_model_deployment="two")[0] == 200
        assert (len(shop.replicas("one")), len(shop.replicas("two"))) == (0, 1)
        busy = asyncio.create_task(
            in_thread(shop.chat, "/slow 200 one two three", azureml_model_deployment="two")
        )
        await in_thread(until, lambda: shop.replicas("two")[0]["calls"] == 1)
        status, content, _ = await in_thread(shop.chat, "hi", azureml_model_deployment="one")
        assert status == 503
        assert "needs about 5000 MiB" in content["message"]
        assert (await busy)[0] == 200
        status, content, _ = shop.server.ask(
            "POST",
            "/admin/documents",
            {"documents": [deployment("two", instance_count=2, zaffre=big)]},
        )
        assert status == 409
        assert "10000 MiB and all models together may have 8000 MiB" in content["message"]


def test_what_was_changed_outlives_the_server(tmp_path: Path):
    home, log = tmp_path / "home", tmp_path / "log"
    file = tmp_path / "zaffre.yaml"
    file.write_text("deployments: [{name: plain, model: echo}]\n")
    with running_server(home, log, "-f", str(file)) as server:
        Shop(server).apply(ENDPOINT, deployment("blue"))
        Shop(server).traffic(blue=100)
    with running_server(home, log, "-f", str(file)) as server:
        assert Shop(server).chat("hi")[0] == 200
        assert server.get("/admin/endpoints/shop")["traffic"] == {"blue": 100}


def test_a_hangup_reads_the_files_again(tmp_path: Path):
    with shop_with(tmp_path) as shop:
        file = tmp_path / "zaffre.yaml"
        file.write_text("deployments: [{name: other, model: echo}]\n")
        shop.server.process.send_signal(signal.SIGHUP)
        until(lambda: [m["id"] for m in shop.server.get("/models")["data"]] == ["other"])
        file.write_text("deployments: [{name: other, modell: echo}]\n")
        shop.server.process.send_signal(signal.SIGHUP)
        until(lambda: "nothing was changed" in shop.server.log.read_text())
        assert [m["id"] for m in shop.server.get("/models")["data"]] == ["other"]
