"""Microsoft's Python client on endpoints of their own: loaded by what each says it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient, load_client
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from openai import OpenAI

from servers import RunningServer, running_server

CONFIGURATION = """\
endpoints:
  - {name: shop, traffic: {blue: 100}}
  - {name: talk, kind: serverless, model: echo, content_safety: "off"}
deployments:
  - {name: blue, endpoint: shop, model: echo}
  - {name: green, endpoint: shop, model: echo}
  - {name: vectors, model: all-minilm-l6-v2}
"""


@pytest.fixture(scope="module")
def server(zaffre_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("endpoints")
    file = folder / "zaffre.yaml"
    file.write_text(CONFIGURATION)
    (folder / "home").mkdir()
    (folder / "home" / "models").symlink_to(zaffre_home / "models")
    with running_server(folder / "home", folder / "log", "-f", str(file)) as running:
        yield running


def test_an_endpoint_says_what_client_it_wants(server: RunningServer):
    key = AzureKeyCredential(server.key)
    with load_client(endpoint=f"{server.endpoint}/endpoints/shop", credential=key) as client:
        assert isinstance(client, ChatCompletionsClient)
        assert client.get_model_info().model_name == "echo"
        answer = client.complete(messages=[UserMessage("hello you")])
        assert (answer.choices[0].message.content, answer.model) == ("hello you", "blue")


def test_a_serverless_endpoint_ignores_the_model(server: RunningServer):
    key = AzureKeyCredential(server.key)
    with ChatCompletionsClient(f"{server.endpoint}/endpoints/talk", key) as client:
        answer = client.complete(messages=[UserMessage("hello")], model="gpt-4o")
        assert answer.choices[0].message.content == "hello"


def test_a_header_goes_straight_to_a_deployment(server: RunningServer):
    key = AzureKeyCredential(server.key)
    headers = {"azureml-model-deployment": "green"}
    with ChatCompletionsClient(f"{server.endpoint}/endpoints/shop", key, headers=headers) as client:
        assert client.complete(messages=[UserMessage("hello")]).model == "green"


def test_the_root_has_endpoints_and_deployments_by_name(server: RunningServer):
    key = AzureKeyCredential(server.key)
    with EmbeddingsClient(server.endpoint, key, model="vectors") as client:
        assert len(client.embed(input=["a"]).data[0].embedding) == 384
    with ChatCompletionsClient(server.endpoint, key, model="SHOP") as client:
        assert client.complete(messages=[UserMessage("hello")]).model == "blue"
        with pytest.raises(HttpResponseError, match="Unknown model: blue"):
            client.complete(messages=[UserMessage("hello")], model="blue")


def test_the_openai_client_speaks_to_an_endpoint_too(server: RunningServer):
    with OpenAI(base_url=f"{server.endpoint}/endpoints/talk/v1", api_key=server.key) as client:
        answer = client.chat.completions.create(
            model="anything", messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.choices[0].message.content == "hello"
        assert [model.id for model in client.models.list()] == ["talk"]
