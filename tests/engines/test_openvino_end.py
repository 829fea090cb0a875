"""The end of an `openvino` worker whose runner cannot be kept alive."""

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
from conformance import until

from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec, WorkerReport, WorkerSpec

PATIENCE_S = 60.0
"""Far more than three starts and the pauses between them take."""


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_worker_ends_with_the_cause_when_its_runner_cannot_live(tmp_path: Path):
    """Given a worker whose model is gone, when its runner is killed, then the worker says why it
    ends, and leaves nothing behind."""
    model = tmp_path / "model"
    shutil.copytree(Path(__file__).with_name("phi3_ir"), model)
    card = ModelCard(name="phi", format="openvino-ir", operations=("chat", "complete"))
    spec = WorkerSpec(
        engine="openvino",
        spec=EngineSpec(card=card, path=str(model), threads=1),
        socket=str(tmp_path / "w.sock"),
        secret="secret",
        parent_pid=os.getpid(),
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "zaffre.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            worker.stdin.write(msgspec.json.encode(spec) + b"\n")
            first = msgspec.json.decode(await worker.stdout.readline(), type=WorkerReport)
            assert first.capabilities is not None
            (runner,) = _children(worker.pid)
            (model / "openvino_model.bin").write_bytes(b"")
            os.kill(runner, signal.SIGKILL)
            last = msgspec.json.decode(await worker.stdout.readline(), type=WorkerReport)
            assert await worker.wait() == 1
        assert "OpenVINO cannot load the model" in last.error
        assert await until(lambda: not _is_running(runner))
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
