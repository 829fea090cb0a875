"""Engines for the conformance suite: each is started once."""

from collections.abc import AsyncIterator

import pytest
from conformance import EMBEDDING, GENERATING, MODELS, Subject, spec_of

from zaffre.engines.table import make_engine


@pytest.fixture(scope="session")
async def started() -> AsyncIterator[dict[str, Subject]]:
    """The engines that are running, by name; all are closed at the end."""
    running: dict[str, Subject] = {}
    yield running
    for subject in running.values():
        await subject.engine.aclose()


async def _subject(name: str, started: dict[str, Subject]) -> Subject:
    if name not in started:
        engine = make_engine(name, spec_of(name))
        started[name] = Subject(name, engine, await engine.start())
    return started[name]


@pytest.fixture(params=GENERATING)
async def generating(request: pytest.FixtureRequest, started: dict[str, Subject]) -> Subject:
    """An engine that chats and completes."""
    return await _subject(request.param, started)


@pytest.fixture(params=MODELS)
async def model(request: pytest.FixtureRequest, started: dict[str, Subject]) -> Subject:
    """An engine that generates with a real model."""
    return await _subject(request.param, started)


@pytest.fixture(params=EMBEDDING)
async def embedding(request: pytest.FixtureRequest, started: dict[str, Subject]) -> Subject:
    """An engine that embeds text."""
    return await _subject(request.param, started)


@pytest.fixture
async def openvino(started: dict[str, Subject]) -> Subject:
    """The `openvino` engine."""
    return await _subject("openvino", started)
