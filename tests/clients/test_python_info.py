"""Model information through azure-ai-inference: `get_model_info` and `load_client`."""

from types import ModuleType

import pytest
from azure.core.credentials import AzureKeyCredential
from azure_checks import AnyChatClient, check_info, closing, settled

from servers import RunningServer

Address = tuple[str, AzureKeyCredential]
MODELS = [
    ("smollm2-135m-instruct", "chat-completion", "ChatCompletionsClient"),
    ("all-minilm-l6-v2", "embeddings", "EmbeddingsClient"),
    ("conse-efficientnet-lite0-minilm", "image-embeddings", "ImageEmbeddingsClient"),
]
CALLED = {
    "smollm2-135m-instruct": "smollm2-135m-instruct",
    "all-minilm-l6-v2": "all-minilm-l6-v2",
    "conse-efficientnet-lite0-minilm": (
        "ConSE EfficientNet-Lite0 + all-MiniLM-L6-v2 (knows ImageNet classes only)"
    ),
}
"""What `/info` calls each model: a name that says what it cannot do, where that matters."""


@pytest.fixture
def address(server: RunningServer, credential: AzureKeyCredential) -> Address:
    """What a program knows of its server: endpoint and key."""
    return server.endpoint, credential


async def test_the_default_model_introduces_itself(chat: AnyChatClient):
    info = await settled(chat.get_model_info())
    check_info(info, "smollm2-135m-instruct", "chat-completion")


async def test_the_introduction_is_asked_for_once(chat: AnyChatClient):
    first = await settled(chat.get_model_info())
    assert await settled(chat.get_model_info()) is first


@pytest.mark.parametrize(("model", "model_type", "client_name"), MODELS)
async def test_a_client_of_any_kind_asks_about_its_model(
    sdk: ModuleType, address: Address, model: str, model_type: str, client_name: str
):
    headers = {"azureml-model-deployment": model}
    async with closing(getattr(sdk, client_name)(*address, headers=headers)) as client:
        check_info(await settled(client.get_model_info()), CALLED[model], model_type)


@pytest.mark.parametrize(("model", "model_type", "client_name"), MODELS)
async def test_a_client_is_chosen_by_the_model(
    sdk: ModuleType, address: Address, model: str, model_type: str, client_name: str
):
    headers = {"azureml-model-deployment": model}
    async with closing(await settled(sdk.load_client(*address, headers=headers))) as client:
        assert type(client).__name__ == client_name
        check_info(await settled(client.get_model_info()), CALLED[model], model_type)


@pytest.mark.parametrize("path", ["", "/v1", "/models", "/api/models"])
async def test_an_endpoint_may_have_any_of_the_known_paths(
    sdk: ModuleType, address: Address, path: str
):
    endpoint, credential = address
    async with closing(await settled(sdk.load_client(endpoint + path, credential))) as client:
        assert type(client).__name__ == "ChatCompletionsClient"


async def test_an_endpoint_may_bring_its_own_api_version(sdk: ModuleType, address: Address):
    endpoint, credential = address
    endpoint += "/models?api-version=2025-04-01"
    async with closing(sdk.ChatCompletionsClient(endpoint, credential)) as client:
        info = await settled(client.get_model_info())
    check_info(info, "smollm2-135m-instruct", "chat-completion")
