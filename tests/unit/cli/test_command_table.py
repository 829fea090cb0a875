"""The table of commands: every row leads to a command, and says of it what it says of itself."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from zaffre.cli.main import COMMANDS, Command

LOADED = (
    "import sys; from zaffre.cli.main import build_app; build_app({wanted!r}); print(*sys.modules)"
)
HEAVY = {"aiohttp", "uvicorn", "httpx2", "yaml", "zaffre.boot", "zaffre.registry"}


def loaded_for(wanted: str | None) -> set[str]:
    program = LOADED.format(wanted=wanted)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_row_says_what_its_command_says(command: Command) -> None:
    """Given a row, when its command is loaded, then both have the same summary."""
    module, _, attribute = command.place.partition(":")
    found = getattr(import_module(module), attribute)
    own = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert own.splitlines()[0] == command.summary


def test_help_and_version_load_no_command() -> None:
    """Given nothing to run, when the command line is built, then no command's parts are loaded."""
    assert not HEAVY & loaded_for(None)


def test_a_command_loads_its_own_parts_alone() -> None:
    """Given a command that talks to a server, when it is loaded, then no server is."""
    found = loaded_for("online-endpoint")
    assert "httpx2" in found
    assert not {"aiohttp", "uvicorn", "zaffre.boot", "zaffre.cli.serve"} & found
