"""A hub on this machine, and a store that pulls from it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import HubServer

from zaffre.registry.hubpull import pull_from_hub
from zaffre.registry.huggingface import HubAccess, HuggingFaceHub
from zaffre.registry.pull import PullStep
from zaffre.registry.references import parse_reference
from zaffre.registry.store import InstalledModel, ModelStore

Pull = Callable[..., InstalledModel]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


@pytest.fixture
def steps() -> list[PullStep]:
    """What pulls have told."""
    return []


@pytest.fixture
def pauses() -> list[float]:
    """How long pulls would have waited."""
    return []


@pytest.fixture
def pull(hub: HubServer, store: ModelStore, steps: list[PullStep], pauses: list[float]) -> Pull:
    """Pull a reference, as nobody unless a token is given; waits are counted, not waited."""

    def run(text: str, *, token: str = "", update: bool = False) -> InstalledModel:
        access = HubAccess(hub.endpoint, token)
        return pull_from_hub(
            store,
            parse_reference(text),
            lambda: HuggingFaceHub(access),
            steps.append,
            update=update,
            pause=pauses.append,
        )

    return run
