"""From nothing to the first answer, and what a gateway holds when nothing happens."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import gateway, peers
from bench.figures import Bar, Rounds, Row, find, judge
from bench.processes import (
    KEY,
    Server,
    free_port,
    start,
    work_folder,
    zaffre_command,
    zaffre_home,
)

START = "spawn to the first answered GET /health"
ZAFFRE = "Zaffre, one echo worker"
LITELLM = gateway.LITELLM
REST_S = 3.0
"""From the first answer until memory is read."""
STEP_S = 0.002
LIMIT_S = 120.0
PINNING = "nothing: whatever starts has both cores"
PLAN = '{"deployments": [{"name": "echo", "model": "echo"}]}'


def measure(against: Sequence[str], rounds: Rounds, say: Callable[[str], None]) -> list[Row]:
    """All rows."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        runs = {ZAFFRE: partial(_zaffre, folder)}
        if "litellm" in against:
            programs = peers.install("litellm", say)
            runs[LITELLM] = partial(_litellm, folder, programs)
        for run in runs.values():
            run()  # with the files in memory, as after an update; not after a boot
        return rounds.run(START, runs)


def _zaffre(folder: Path) -> dict[str, float]:
    file, port = folder / "plan.yaml", free_port()
    file.write_text(PLAN)
    command = [*zaffre_command(file), "--port", str(port)]
    return _started(command, folder, port, "/health", zaffre_home(folder))


def _litellm(folder: Path, programs: Path) -> dict[str, float]:
    config, port = folder / "litellm.yaml", free_port()
    config.write_text(
        '{"model_list": [{"model_name": "mock", "litellm_params":'
        ' {"model": "openai/mock", "api_base": "http://127.0.0.1:9/v1", "api_key": "none"}}],'
        f' "general_settings": {{"master_key": "sk-{KEY}"}}}}'
    )
    command = [str(programs / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    path = "/health/liveliness"
    return _started([*command, "--port", str(port)], folder, port, path, settings)


def _started(
    command: Sequence[str], folder: Path, port: int, path: str, environment: dict[str, str]
) -> dict[str, float]:
    log = folder / "start.log"
    began_s = time.perf_counter()
    process = start(command, log, environment=environment)
    server = Server(process, port)
    try:
        while not _healthy(port, path):
            if process.poll() is not None or time.perf_counter() - began_s > LIMIT_S:
                raise RuntimeError(f"It does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(STEP_S)
        took_s = time.perf_counter() - began_s
        time.sleep(REST_S)
        return {
            "start_s": took_s,
            "memory_mib": server.memory_mib(),
            "start_cpu_s": server.cpu_s(),
            "open_files": server.open_files(),
        }
    finally:
        server.stop()


def _healthy(port: int, path: str) -> bool:
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars of this suite, held against the rows."""
    row = find(rows, START, ZAFFRE)
    rules = (
        ("gateway cold start", "start_s", "s", 1.0, 0.6),
        ("gateway memory at rest", "memory_mib", "MiB", 90.0, 70.0),
    )
    found = []
    for what, name, unit, bar, beyond in rules:
        facts: dict[str, Any] = {"measured": "–", "verdict": "not measured"}
        if row:
            value = row.figures[name].median
            facts = {
                "measured": f"{value:.3g} {unit}",
                "verdict": judge(value, bar, beyond, most=True),
            }
        limit, far = f"≤ {bar:g} {unit}", f"≤ {beyond:g} {unit}"
        found.append(Bar(what=what, bar=limit, beyond=far, **facts))
    return found
