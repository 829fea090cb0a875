"""Shared by all tests: a running server with the starter models, and one with the test double."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import RunningServer, running_server
from zaffre.registry.store import default_home

# So that a failing check in there shows its values, as one in a test does.
pytest.register_assert_rewrite("azure_checks")

ECHO_CONFIGURATION = """\
deployments:
  - name: echo
    model: echo
"""


@pytest.fixture(scope="session")
def zaffre_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own for the tests' servers, with the models of the user's."""
    models = default_home(os.environ) / "models"
    if not models.is_dir():
        pytest.fail("The starter models are not installed: run `zaffre models pull --starters`.")
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(models)
    return home


@pytest.fixture(scope="session")
def server(zaffre_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the starter models, ready to answer, on a free port of this machine."""
    with running_server(zaffre_home, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def echo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the deterministic test double alone, which does every operation."""
    folder = tmp_path_factory.mktemp("echo_server")
    (folder / "zaffre.yaml").write_text(ECHO_CONFIGURATION)
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as running:
        yield running
