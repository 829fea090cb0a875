"""The base install: the wheel with its own dependencies, in an environment that has nothing else.

The dependencies are copied from the environment that runs the tests, so no network is needed.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from servers import RunningServer

ROOT = Path(__file__).parents[2]
LARGEST_MB = 4
"""msgspec, httpx2 and what they need are 2.5 MB; an engine or a web server would show."""
ASK = """
import asyncio, sys
from zaffre.client import AsyncClient, Client

async def embed():
    async with AsyncClient(*sys.argv[1:]) as client:
        return len((await client.embed(["a"]))[0])

with Client(*sys.argv[1:]) as client:
    print(client.chat("still light").choices[0].message.content)
print(asyncio.run(embed()))
"""


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def _needed(requirements: list[str], known: dict[str, metadata.Distribution]) -> None:
    """Add to `known` what `requirements` install here, and what that needs in turn."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in known:
            known[requirement.name] = metadata.distribution(requirement.name)
            _needed(known[requirement.name].requires or [], known)


def _copy(distribution: metadata.Distribution, target: Path) -> None:
    for file in distribution.files or []:
        if ".." not in file.parts and file.suffix != ".pyc":
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(distribution.locate_file(file), place)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    _run(*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def light_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which nothing but the base install is."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (installed,) = metadata.distributions(name="zaffre", path=[str(site)])
    known: dict[str, metadata.Distribution] = {}
    _needed(installed.requires or [], known)
    for distribution in known.values():
        _copy(distribution, site)
    _run(*pip, "check")
    return python


def test_the_client_needs_the_base_install_only(light_python: Path, echo_server: RunningServer):
    """Given the base install alone, when it asks a server, with a loop and without, it works."""
    answer = _run(light_python, "-c", ASK, echo_server.endpoint, echo_server.key)
    assert answer.split("\n") == ["still light", "8", ""]


def test_the_base_install_is_light(light_python: Path):
    """Given the base install alone, when what it brings is weighed, then no server came along."""
    (site,) = light_python.parents[1].glob("lib/python*/site-packages")
    brought = [
        file
        for package in site.iterdir()
        if not package.name.startswith("zaffre")
        for file in (package, *package.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    ]
    assert brought
    assert sum(file.stat().st_size for file in brought) < LARGEST_MB * 1_000_000


def test_the_command_says_what_the_base_install_lacks(light_python: Path):
    """Given the base install, when `zaffre` is typed, then a sentence tells what to install."""
    done = subprocess.run(
        [light_python, "-m", "zaffre", "serve"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'zaffre[server]'" in done.stderr
    assert "Traceback" not in done.stderr
