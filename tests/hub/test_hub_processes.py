"""Pulls in real processes: killed in the middle, two at a time, and through the command line."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_models import gguf_bytes
from hub_server import Fault, HubServer

from zaffre.registry.references import parse_reference
from zaffre.registry.store import ModelStore

LARGE = gguf_bytes(8192)
REFERENCE = "hf:tiny/large:large.gguf"
NAME = parse_reference(REFERENCE).store_name

PULL = """
import os, sys
from pathlib import Path
from zaffre.registry.resolve import find_pullable, pull_model
from zaffre.registry.store import ModelStore

def watch(step):
    print(step.stage, step.done_bytes, flush=True)

store = ModelStore(Path(os.environ["ZAFFRE_HOME"]))
pull_model(store, find_pullable(sys.argv[1]), os.environ, watch)
"""


@pytest.fixture
def environment(hub: HubServer, store: ModelStore, tmp_path: Path) -> dict[str, str]:
    """Of processes that know this hub, and no token of the user's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {
        **clean,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "ZAFFRE_HOME": str(store.home),
    }


@contextmanager
def pulling(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that pulls the large model and tells its steps, a line each."""
    process = subprocess.Popen(
        [sys.executable, "-c", PULL, REFERENCE],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], stage: str, done_bytes: int = 0) -> None:
    """Read on until the process tells of this stage with so many bytes."""
    assert process.stdout is not None
    for line in process.stdout:
        told, _, done = line.partition(" ")
        if told == stage and int(done) >= done_bytes:
            return
    pytest.fail(f"It ended without telling of {stage} with {done_bytes} bytes.")


def zaffre(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zaffre", "models", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def test_a_pull_that_was_killed_goes_on_where_it_was(
    hub: HubServer, store: ModelStore, environment: dict[str, str]
) -> None:
    """Given a pull killed with 5 of 8 MiB, when it is run again, then it asks for the rest."""
    hub.add("tiny/large", {"large.gguf": LARGE})
    hub.faults["large.gguf"] = [Fault(hold_after=6 << 20)]
    with pulling(environment) as killed:
        wait_for(killed, "downloading", 5 << 20)
    hub.let_go.set()
    assert store.installed() == []
    assert store.begun()[NAME] >= 5 << 20
    hub.requests.clear()

    with pulling(environment) as second:
        wait_for(second, "done", len(LARGE))

    assert store.find(NAME).path.read_bytes() == LARGE
    (request,) = [each for each in hub.requests if each.origin == "storage"]
    assert int(request.range.removeprefix("bytes=").rstrip("-")) >= 5 << 20
    assert not store.partial(NAME).exists()


def test_two_processes_download_once(
    hub: HubServer, store: ModelStore, environment: dict[str, str]
) -> None:
    """Given one pull in the middle, when another begins, then it waits and downloads nothing."""
    hub.add("tiny/large", {"large.gguf": LARGE})
    hub.faults["large.gguf"] = [Fault(hold_after=4 << 20)]
    with pulling(environment) as first:
        wait_for(first, "downloading", 3 << 20)
        with pulling(environment) as second:
            wait_for(second, "waiting")
            hub.let_go.set()
            wait_for(first, "done")
            wait_for(second, "done")

    assert hub.sent_bytes["large.gguf"] == len(LARGE)
    assert store.find(NAME).path.read_bytes() == LARGE


def test_the_command_line_pulls_lists_shows_and_removes(
    hub: HubServer, environment: dict[str, str]
) -> None:
    hub.add("tiny/large", {"large.gguf": LARGE, "LICENSE": b"MIT"}, license="apache-2.0")

    pulled = zaffre(environment, "pull", REFERENCE)
    listed = zaffre(environment, "list")
    shown = zaffre(environment, "show", REFERENCE)
    told = zaffre(environment, "show", NAME, "-o", "json")
    removed = zaffre(environment, "rm", REFERENCE)

    assert (pulled.returncode, pulled.stdout) == (0, f"{REFERENCE}: {NAME}\n")
    assert f"8.4 MB from hf:tiny/large@{hub.repositories['tiny/large'].commit}" in (
        pulled.stderr.replace("\n", "")
    )
    assert any(line.startswith(NAME) and "apache-2.0" in line for line in listed.stdout.split("\n"))
    for words in (
        *("architecture llama", "quantisation F32", "parameters   2.1 M"),
        *("context      512 tokens", "template     there, with tools", "licence      apache-2.0"),
    ):
        assert words in shown.stdout
    facts = json.loads(told.stdout)
    assert (facts["facts"]["parameters"], facts["facts"]["takes_tools"]) == (8192 * 256, True)
    assert facts["origin"]["hub"]["repository"] == "tiny/large"
    assert removed.returncode == 0
    assert not zaffre(environment, "show", NAME).stdout


def test_a_token_from_the_environment_opens_what_is_gated(
    hub: HubServer, environment: dict[str, str]
) -> None:
    hub.add("tiny/large", {"large.gguf": gguf_bytes()}, gated=True)

    closed = zaffre(environment, "pull", REFERENCE)
    opened = zaffre({**environment, "HF_TOKEN": hub.token}, "pull", REFERENCE)

    assert closed.returncode == 1
    assert "Accept its terms at" in closed.stderr.replace("\n", " ")
    assert "Traceback" not in closed.stderr
    assert opened.returncode == 0


def test_a_download_that_was_cut_off_is_listed_and_can_be_removed(
    hub: HubServer, store: ModelStore, environment: dict[str, str]
) -> None:
    hub.add("tiny/large", {"large.gguf": LARGE})
    hub.faults["large.gguf"] = [Fault(hold_after=6 << 20)]
    with pulling(environment) as killed:
        wait_for(killed, "downloading", 5 << 20)
    hub.let_go.set()

    listed = zaffre(environment, "list")
    removed = zaffre(environment, "rm", REFERENCE)

    (line,) = [line for line in listed.stdout.split("\n") if line.startswith(NAME)]
    assert re.search(r"not whole, [56] MB of a download are here$", line)
    assert removed.returncode == 0
    assert store.begun() == {}


def test_without_the_hubs_library_the_extra_is_named(environment: dict[str, str]) -> None:
    program = (
        "import sys; sys.modules['huggingface_hub'] = None;"
        "from zaffre.registry.resolve import open_hub; open_hub({})"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )

    assert "pip install 'zaffre[hub]'" in done.stderr
