"""The first minute: start the server, type what it prints, and it works as printed.

The first start is of all starter models, as a user's is; later ones are of what they need.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from servers import started

ANSWER_LIMIT_S = 60
LIGHT = "deployments: [{name: echo, model: echo}]\n"
TINY = Path(__file__).parents[1] / "engines" / "phi3_ir"
TINY_MODEL = f"deployments: [{{name: chat, model: {json.dumps(f'path:{TINY}')}}}]\n"


@pytest.fixture(scope="module")
def home(zaffre_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where no server has been started before, with the starter models."""
    fresh = tmp_path_factory.mktemp("first_minute")
    (fresh / "models").symlink_to((zaffre_home / "models").resolve())
    return fresh


@pytest.fixture(scope="module")
def first_greeting(home: Path) -> Iterator[str]:
    """What the first start in that home prints; its server runs on."""
    with started(home, home / "log") as (_, greeting):
        yield greeting


def _printed_block(greeting: str, heading: str) -> str:
    """The indented lines below `heading`, as a person would copy them."""
    _, found, below = greeting.partition(heading)
    assert found, greeting
    block = re.match(r"\n\n((?:(?: {4}.*)?\n)+)", below)
    assert block, greeting
    return textwrap.dedent(block[1])


def _typed(*command: str, key: str | None = None) -> str:
    """What a command prints, typed by a person whose key is exported or not."""
    environ = {name: value for name, value in os.environ.items() if name != "ZAFFRE_KEY"}
    if key is not None:
        environ["ZAFFRE_KEY"] = key
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=ANSWER_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answer_to_curl(greeting: str, key: str | None = None) -> str:
    typed = _printed_block(greeting, "Try it:")
    answer = json.loads(_typed("bash", "-c", typed, key=key))
    return str(answer["choices"][0]["message"]["content"])


def _answer_to_python(greeting: str, key: str | None = None) -> str:
    typed = _printed_block(greeting, "Or in Python (pip install azure-ai-inference):")
    return _typed(sys.executable, "-c", typed, key=key).strip()


def test_the_printed_curl_line_works(first_greeting: str):
    """Given a first start, when its curl line is typed as it stands, then a model answers."""
    assert _answer_to_curl(first_greeting)


def test_the_printed_python_works(first_greeting: str):
    """Given a first start, when its Python lines are run as they stand, then a model answers."""
    assert _answer_to_python(first_greeting)


def _declared(folder: Path, configuration: str) -> tuple[str, str]:
    """The options that make a server read `configuration`."""
    file = folder / "zaffre.yaml"
    file.write_text(configuration)
    return "-f", str(file)


def test_a_key_is_printed_once(home: Path, first_greeting: str, tmp_path: Path):
    """Given a second start, when its lines are typed with the first's key, then they work."""
    key = _printed_block(first_greeting, "Your key, shown only this once:").strip()
    with started(home, home / "log", *_declared(tmp_path, LIGHT)) as (_, greeting):
        assert key not in greeting
        assert _answer_to_curl(greeting, key)
        assert _answer_to_python(greeting, key)


def test_a_key_of_the_users_own_is_not_printed(home: Path, tmp_path: Path):
    """Given --key, when the server starts, then its lines work with that key but hide it."""
    key = "a-key-of-the-users-own"
    options = _declared(tmp_path, LIGHT)
    with started(home, home / "log", "--key", key, *options) as (_, greeting):
        assert key not in greeting
        assert _answer_to_curl(greeting, key)


def test_stopping_the_server_ends_its_processes(home: Path, tmp_path: Path):
    """Given a running server, when it is told to stop, then all its processes end, and cleanly."""
    with started(home, home / "log", *_declared(tmp_path, TINY_MODEL)) as (process, _):
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2  # a worker, and what it has started
    assert process.returncode == 0
    assert not [child for child in below if child.is_running()]
