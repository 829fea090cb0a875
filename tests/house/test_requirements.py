"""Requirements: pinned with hashes, free of addresses, in step with pyproject.toml."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
NODE_LOCKS = sorted((ROOT / "tests" / "clients").glob("*/package-lock.json"))
LOCKS = ("serve.txt", "dev.txt")
ADDRESS = re.compile(r"\w+://|--(?:extra-)?index-url|--find-links|--trusted-host|git\+")
INSTALLERS = {"hatchling", "editables"}
"""In serve.in besides zaffre's own dependencies: they install zaffre from its checkout."""


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _extra(name: str) -> set[str]:
    """The requirements of zaffre[name], with what it takes over from other extras."""
    found = set()
    for requirement in _project()["optional-dependencies"][name]:
        if included := re.fullmatch(r"zaffre\[(.+)\]", requirement):
            found |= set().union(*(_extra(extra) for extra in included[1].split(",")))
        else:
            found.add(_normal(requirement))
    return found


def _normal(requirement: str) -> str:
    return requirement.replace('"', "'").replace(" ", "").lower()


def _stated(name: str) -> set[str]:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    return {_normal(line) for line in lines if line and not line.startswith(("#", "-"))}


def _pins(name: str) -> dict[str, list[str]]:
    """Package -> version and hashes, of a lock."""
    text = (REQUIREMENTS / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {line.partition("==")[0]: line.split() for line in lines}


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.iterdir()), ids=lambda path: path.name)
def test_requirements_name_no_address(path: Path):
    """Given a list of requirements, when it is read, then any registry can serve it."""
    assert not ADDRESS.search(path.read_text())


@pytest.mark.parametrize("path", NODE_LOCKS, ids=lambda path: path.parent.name)
def test_clients_of_node_are_locked_without_addresses(path: Path):
    """Given a lock of JavaScript clients, when it is read, it has hashes, not addresses."""
    packages = json.loads(path.read_text())["packages"]
    packages.pop("")
    assert packages
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert package["integrity"].startswith("sha512-"), name


def test_serving_installs_what_zaffre_declares():
    """Given zaffre[all], when serve.in is read, it is the same list."""
    declared = _extra("all") | {_normal(r) for r in _project()["dependencies"]}
    stated = {r for r in _stated("serve.in") if re.split(r"[<>=;]", r)[0] not in INSTALLERS}
    assert stated == declared


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(name: str):
    """Given a lock, when it is read, then each line pins one version by its files' hashes."""
    pins = _pins(name)
    assert pins
    for package, words in pins.items():
        assert words[0].startswith(f"{package}=="), words[0]
        assert any(word.startswith("--hash=sha256:") for word in words), package


def test_tests_run_on_what_is_served():
    """Given both locks, when they are compared, then the one for development holds the other."""
    serve, development = _pins("serve.txt"), _pins("dev.txt")
    assert {name: development.get(name) for name in serve} == serve


@pytest.mark.parametrize("name", LOCKS)
def test_no_deep_learning_framework_is_installed(name: str):
    """Given a lock, when it is read, then it brings no framework that only training needs."""
    assert not {"torch", "tensorflow", "jax", "transformers"} & set(_pins(name))
