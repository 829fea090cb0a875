"""Clients: Microsoft's Python clients, sync and async, pointed at the running server.

Each fixture below comes in both flavours, so every test runs with both; what a client returns is
read with `settled` and `updates_of`, which wait where there is something to wait for.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import azure.ai.inference
import azure.ai.inference.aio
import pytest
from azure.core.credentials import AzureKeyCredential
from azure_checks import AnyChatClient, AnyEmbeddingsClient, AnyImageEmbeddingsClient, closing
from PIL import Image

from servers import RunningServer


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest) -> ModuleType:
    """The package that the clients come from: they have the same names in both."""
    return azure.ai.inference if request.param == "sync" else azure.ai.inference.aio


@pytest.fixture
def credential(server: RunningServer) -> AzureKeyCredential:
    """The server's key."""
    return AzureKeyCredential(server.key)


@pytest.fixture
async def chat(
    sdk: ModuleType, server: RunningServer, credential: AzureKeyCredential
) -> AsyncIterator[AnyChatClient]:
    """A client for chat, as a program makes it: endpoint and key, no model."""
    async with closing(sdk.ChatCompletionsClient(server.endpoint, credential)) as client:
        yield client


@pytest.fixture
async def embeddings(
    sdk: ModuleType, server: RunningServer, credential: AzureKeyCredential
) -> AsyncIterator[AnyEmbeddingsClient]:
    """A client for text embeddings."""
    async with closing(sdk.EmbeddingsClient(server.endpoint, credential)) as client:
        yield client


@pytest.fixture
async def image_embeddings(
    sdk: ModuleType, server: RunningServer, credential: AzureKeyCredential
) -> AsyncIterator[AnyImageEmbeddingsClient]:
    """A client for image embeddings."""
    async with closing(sdk.ImageEmbeddingsClient(server.endpoint, credential)) as client:
        yield client


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PNG file with something on it."""
    drawn = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    path = tmp_path_factory.mktemp("pictures") / "gradient.png"
    drawn.save(path)
    return path
