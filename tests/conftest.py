"""Shared by all tests: two running servers, and how several processes share out the tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from servers import RunningServer, running_server
from zaffre.registry.store import default_home

# So that a failing check in there shows its values, as one in a test does.
pytest.register_assert_rewrite("azure_checks")

ONE_PROCESS = ("tests/clients", "tests/contract", "tests/stores")
"""Folders whose files share servers that are dear to start, so one process runs all of each."""
ECHO_CONFIGURATION = """\
deployments:
  - name: echo
    model: echo
"""


class Sharing(LoadFileScheduling):
    """Hands out files whole, and those of some folders together."""

    def _split_scope(self, nodeid: str) -> str:
        """What the test `nodeid` is handed out with."""
        file = super()._split_scope(nodeid)
        return next((folder for folder in ONE_PROCESS if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Sharing:
    """Whatever --dist says: tests of one file may share what they start."""
    return Sharing(config, log)


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
