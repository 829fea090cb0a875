"""Contract: request bytes against response bytes, on servers that host the test double alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from raw_http import Door

from servers import RunningServer, running_server, started

MODELS = """\
settings:
  max_body_mib: 4
  max_waiting: 3
deployments:
  - {name: Echo, model: echo}
  - {name: second, model: echo}
  - {name: talker, model: "path:talker"}
  - {name: embedder, model: "path:embedder"}
  - {name: narrow, model: echo, slots: 1}
  - {name: fragile, model: echo}
"""
"""`Echo` is the default for all operations; `narrow` takes four calls at a time, `fragile` is there
to be broken."""
STRICT = """\
settings: {api_version: strict}
deployments:
  - {name: only, model: "path:embedder"}
"""
BROKEN = """\
settings: {request_timeout_s: 0.5}
deployments:
  - {name: echo, model: echo}
  - {name: never, model: echo, engine: none-of-this-name}
"""
"""A server that runs out of patience soon, with a model that cannot start."""
TALKER = {
    "name": "talker",
    "title": "Talker 1",
    "format": "echo",
    "operations": ["chat", "complete"],
    "provider": "acme",
}
EMBEDDER = {
    "name": "embedder",
    "format": "echo",
    "operations": ["embed", "embed_images"],
    "provider": "acme",
    "dimensions": 8,
    "reducible_dimensions": True,
}


def _written(folder: Path, configuration: str) -> tuple[str, str]:
    """The options that make a server read `configuration`."""
    for card in (TALKER, EMBEDDER):
        files = folder / str(card["name"])
        files.mkdir()
        (files / "card.json").write_text(json.dumps(card))
    (folder / "zaffre.yaml").write_text(configuration)
    return "-f", str(folder / "zaffre.yaml")


def _serving(folder: Path, configuration: str) -> Iterator[RunningServer]:
    options = _written(folder, configuration)
    with running_server(folder / "home", folder / "log", *options) as running:
        yield running


@pytest.fixture(scope="session")
def many_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with several models: a default for everything, and some that do less."""
    yield from _serving(tmp_path_factory.mktemp("many"), MODELS)


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with one model, which only embeds, that insists on known api-versions."""
    yield from _serving(tmp_path_factory.mktemp("strict"), STRICT)


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The door of a server that is not all ready: one model never comes up."""
    folder = tmp_path_factory.mktemp("broken")
    options = ("--key", "a-key", *_written(folder, BROKEN))
    with started(folder / "home", folder / "log", *options) as (process, greeting):
        yield Door(RunningServer(process, "a-key", greeting, folder / "log").port, "a-key")


@pytest.fixture(scope="session")
def many(many_server: RunningServer) -> Door:
    """The door of the server with several models."""
    return Door(many_server.port, many_server.key)


@pytest.fixture(scope="session")
def strict(strict_server: RunningServer) -> Door:
    """The door of the server with one model and strict versions."""
    return Door(strict_server.port, strict_server.key)


@pytest.fixture(scope="session")
def echo_door(echo_server: RunningServer) -> Door:
    """The door of a server with one model, which does everything."""
    return Door(echo_server.port, echo_server.key)
