"""`zaffre keys`: from the command line to the file, and to a store that is open already."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zaffre.auth.keystore import KeyStore
from zaffre.cli.keys import app


class Keys:
    """The command, on a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str, fails: bool = False) -> str:
        """What it prints."""
        result = CliRunner().invoke(app, list(words), env={"ZAFFRE_HOME": str(self.home)})
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    def json(self, *words: str) -> Any:
        """What it prints as JSON."""
        return json.loads(self.run(*words, "-o", "json"))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_a_key_is_made_with_its_bounds_and_a_running_server_knows_it(keys: Keys):
    server = KeyStore(keys.home)

    made = keys.json(
        "create", "till", "--model", "Phi-3", "--endpoint", "Shop", "--operation", "chat"
    )

    found = server.find(made["key"])
    assert found is not None
    assert (found.name, found.models, found.endpoints) == ("till", {"phi-3"}, {"shop"})
    assert (found.operations, found.permissions) == ({"chat"}, {"call"})
    assert keys.json("revoke", "till")["name"] == "till"
    assert server.find(made["key"]) is None


def test_a_key_is_shown_once(keys: Keys):
    shown = keys.run("create", "a", "--permission", "admin", "--expires-in", "90d")
    key = next(word for word in shown.split() if word.startswith("zaffre-"))

    assert "once" in shown
    assert "expires" in shown
    assert key not in keys.run("list")
    assert key not in json.dumps(keys.json("list"))
    assert KeyStore(keys.home).find(key) is not None


def test_the_list_has_a_line_for_each(keys: Keys):
    keys.run("create", "till", "--model", "phi-3")
    keys.run("rotate", "shop/primary")

    title, *lines = keys.run("list").splitlines()

    assert title.split()[0] == "name"
    assert [line.split()[0] for line in lines] == ["shop/primary", "till"]
    assert "endpoints: shop" in lines[0]
    assert "models: phi-3" in lines[1]
    assert [key["slot"] for key in keys.json("list")] == ["primary", None]


def test_rotating_ends_the_old_key(keys: Keys):
    old = keys.json("create", "a")
    new = keys.json("rotate", old["id"])

    store = KeyStore(keys.home)
    assert store.find(old["key"]) is None
    assert store.find(new["key"]) is not None
    assert new["id"] == old["id"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("create", "a", "--permission", "root"), "call, admin, read_usage"),
        (("create", "a", "--operation", "speak"), "embed_images"),
        (("create", "a", "--expires-in", "0d"), "90d"),
        (("create", "a", "--expires-in", "3w"), "90d"),
        (("create", "a/b"), "64 letters"),
        (("rotate", "nobody"), "keys list"),
        (("revoke", "nobody"), "keys list"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_said_in_a_sentence(keys: Keys, words: tuple[str, ...], complaint: str):
    output = keys.run(*words, fails=True)

    assert complaint in output
    assert "Traceback" not in output
    assert not KeyStore(keys.home).listed()
