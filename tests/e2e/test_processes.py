"""Real processes: what happens to everybody else when one of them dies."""

import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import ZAFFRE, RunningServer, running_server

CONFIGURATION = """\
deployments:
  - {name: first, model: echo}
  - {name: second, model: echo}
"""
PATIENCE_S = 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RunningServer]:
    """A server of two deployments, fresh for a test that breaks something."""
    file = tmp_path / "zaffre.yaml"
    file.write_text(CONFIGURATION)
    with running_server(tmp_path / "home", tmp_path / "log", "-f", str(file)) as running:
        yield running


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@contextlib.contextmanager
def _stream(server: RunningServer, model: str, said: str) -> Iterator[http.client.HTTPResponse]:
    """A stream of which the first piece has come."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    body = {
        "model": model,
        "stream": True,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": said}],
    }
    with contextlib.closing(connection):
        connection.request("POST", "/chat/completions", json.dumps(body), {"api-key": server.key})
        with connection.getresponse() as response:
            assert response.readline().startswith(b"data: ")
            yield response


A_MINUTE = " ".join(["/slow", "50", *map(str, range(1200))])


def _ask(server: RunningServer, model: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        body = {"model": model, "messages": [{"role": "user", "content": "still here"}]}
        connection.request("POST", "/chat/completions", json.dumps(body), {"api-key": server.key})
        answer = json.load(connection.getresponse())
        return answer["choices"][0]["message"]["content"]


def _worker_of(server: RunningServer, model: str) -> int:
    rows = server.get("/health/replicas")["replicas"]
    return next(row["pid"] for row in rows if row["deployment"] == model)


def test_a_killed_worker_ends_its_streams_and_nobody_elses(pair: RunningServer):
    """Given a stream on each of two models, when one worker is killed, then only its stream is
    cut off, without an end marker, and the worker is back for the next request."""
    with _stream(pair, "first", A_MINUTE) as cut, _stream(pair, "second", A_MINUTE) as whole:
        os.kill(_worker_of(pair, "first"), signal.SIGKILL)

        with pytest.raises(http.client.IncompleteRead) as broken:
            cut.read()
        assert b'"choices":[]' in broken.value.partial
        assert b"[DONE]" not in broken.value.partial
        assert whole.readline() == b"\n"
        assert whole.readline().startswith(b"data: ")
    assert _ask(pair, "first") == "still here"
    rows = pair.get("/health/replicas")["replicas"]
    assert {row["deployment"]: row["restarts"] for row in rows} == {"first": 1, "second": 0}


def test_workers_do_not_outlive_a_killed_gateway(pair: RunningServer):
    """Given a server, when the gateway is killed without a chance to clean up, then its workers
    end too."""
    workers = _children(pair.process.pid)
    assert len(workers) == 2

    pair.process.kill()
    pair.process.wait(PATIENCE_S)

    _until(lambda: not any(map(_alive, workers)))


def test_a_stop_lets_streams_in_flight_end(tmp_path: Path):
    """Given a short stream in flight, when the server is told to stop, then the stream ends whole
    and every process and socket is gone."""
    file = tmp_path / "zaffre.yaml"
    file.write_text(CONFIGURATION)
    with running_server(tmp_path / "home", tmp_path / "log", "-f", str(file)) as server:
        workers = _children(server.process.pid)
        with _stream(server, "first", "/slow 100 a b c d e") as response:
            server.process.terminate()

            assert response.read().endswith(b"data: [DONE]\n\n")
        assert server.process.wait(PATIENCE_S) == 0
        assert not any(map(_alive, workers))


def test_sockets_lie_where_only_their_owner_can_go(pair: RunningServer):
    """Given a running server, when its sockets' folder is looked at, then others cannot enter."""
    [worker, *_] = _children(pair.process.pid)
    paths = {
        Path(line.split()[-1])
        for line in Path(f"/proc/{worker}/net/unix").read_text().splitlines()
        if "/zaffre-" in line
    }
    assert paths
    for path in paths:
        if path.exists():
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_disconnect_frees_the_worker(pair: RunningServer):
    """Given a long stream, when its client goes away, then nothing works on it any more."""

    def active() -> int:
        return pair.get("/health/replicas")["replicas"][0]["active"]

    with _stream(pair, "first", A_MINUTE):
        assert active() == 1

    _until(lambda: active() == 0)


def test_a_taken_port_is_a_sentence(pair: RunningServer, tmp_path: Path):
    """Given a port in use, when another server wants it, then it says so and what to do."""
    outcome = subprocess.run(
        [ZAFFRE, "serve", "-f", tmp_path / "zaffre.yaml", "--port", str(pair.port)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "ZAFFRE_HOME": str(tmp_path / "home")},
    )
    assert outcome.returncode == 1
    assert "--port" in outcome.stderr
    assert "Traceback" not in outcome.stderr
