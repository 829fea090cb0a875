"""The page of clients: the versions that it names are those that the tests run with."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "clients"
PAGE = ROOT / "docs" / "reference" / "clients.md"
PINNED = re.compile(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^\s]+)$", re.MULTILINE)
HELPERS = {"@azure/core-auth", "@azure/core-sse", "@langchain/core", "zod"}
"""Packages that the JavaScript tests import beside the client under test."""


def _versions() -> dict[str, str]:
    """Client -> the version that is tested."""
    found: dict[str, str] = {}
    for path in sorted(CLIENTS.glob("*/locks/*.in")):
        found |= dict(PINNED.findall(path.read_text()))
    for path in sorted(CLIENTS.glob("node*/package.json")):
        wanted = json.loads(path.read_text())["dependencies"]
        named = {"openai": "openai` for Node"}
        found |= {named.get(name, name): v for name, v in wanted.items() if name not in HELPERS}
    own = dict(PINNED.findall((ROOT / "requirements" / "dev.in").read_text()))
    return found | {name: own[name] for name in ("azure-ai-inference", "openai")}


@pytest.mark.parametrize("client", sorted(_versions()))
def test_a_client_is_there_with_its_version(client: str):
    """Given a client that is tested, when the page is read, then it names its very version."""
    version = _versions()[client]
    line = re.compile(rf"^\|[^\n]*`{re.escape(client)}[^\n]*{re.escape(version)}", re.MULTILINE)
    assert line.search(PAGE.read_text()), f"{client} {version}"
