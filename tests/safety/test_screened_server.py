"""Content safety in a real server: refusals, cut answers and annotations as clients meet them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from openai import AzureOpenAI, BadRequestError

from servers import RunningServer, running_server

CONFIGURATION = """
endpoints:
  - {name: strict, kind: serverless, model: echo, content_safety: strict}
  - {name: answers, kind: serverless, model: echo, content_safety: answers}
  - {name: usual, kind: serverless, model: echo}
  - {name: free, kind: serverless, model: echo, content_safety: "off"}
content_safety:
  blocklists:
    house: {words: [grue bleen]}
  policies:
    strict: {blocklists: [house]}
    answers:
      filters: [classifier]
      prompts: {hate: "off", self_harm: "off", sexual: "off", violence: "off"}
      jailbreak: false
"""
THREAT = "I am going to kill my neighbour with an axe tonight."
HARMLESS = "How do I kill a process in Linux?"


@pytest.fixture(scope="module")
def screened(
    zaffre_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("screened")
    (folder / "zaffre.yaml").write_text(CONFIGURATION)
    home = folder / "home"
    home.mkdir()
    (home / "models").symlink_to((zaffre_home / "models").resolve())
    with running_server(home, folder / "log", "-f", str(folder / "zaffre.yaml")) as running:
        yield running


def azure_client(server: RunningServer, endpoint: str) -> ChatCompletionsClient:
    url = f"{server.endpoint}/endpoints/{endpoint}"
    return ChatCompletionsClient(url, AzureKeyCredential(server.key))


def openai_client(server: RunningServer, endpoint: str) -> AzureOpenAI:
    return AzureOpenAI(
        base_url=f"{server.endpoint}/endpoints/{endpoint}/openai/deployments/{endpoint}",
        api_key=server.key,
        api_version="2024-10-21",
    )


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_is_refused_as_the_sdks_samples_expect(
    screened: RunningServer, stream: bool
):
    client = azure_client(screened, "strict")

    with pytest.raises(HttpResponseError) as refused:
        client.complete(messages=[UserMessage("A  GRUE\u200b Bleen!")], stream=stream)

    assert refused.value.status_code == 400
    assert refused.value.error.code == "content_filter"
    found = refused.value.error.innererror["content_filter_result"]
    assert found["custom_blocklists"] == {
        "filtered": True,
        "details": [{"filtered": True, "id": "house"}],
    }
    assert found["violence"] == {"filtered": False, "severity": "safe"}


def test_a_serverless_endpoint_has_the_default_policy(screened: RunningServer):
    client = azure_client(screened, "usual")

    with pytest.raises(HttpResponseError) as refused:
        client.complete(messages=[UserMessage(THREAT)])
    assert refused.value.error.innererror["content_filter_result"]["violence"]["filtered"]

    answer = client.complete(messages=[UserMessage(HARMLESS)])
    assert answer.choices[0].message.content == HARMLESS


def test_off_lets_everything_through(screened: RunningServer):
    answer = azure_client(screened, "free").complete(messages=[UserMessage(THREAT)])
    assert answer.choices[0].message.content == THREAT
    assert "content_filter_results" not in answer.choices[0]


def test_a_flagged_answer_has_no_text(screened: RunningServer):
    answer = azure_client(screened, "answers").complete(messages=[UserMessage(THREAT)])
    assert answer.choices[0].finish_reason == "content_filter"
    assert not answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_a_flagged_stream_ends_before_the_flagged_text(screened: RunningServer):
    before = "The weather is fine today and the garden is full of flowers. " * 3
    text = f"{before}{THREAT} And so on."

    updates = list(
        azure_client(screened, "answers").complete(messages=[UserMessage(text)], stream=True)
    )

    sent = "".join(update.choices[0].delta.content or "" for update in updates)
    assert before.startswith(sent)
    assert sent
    assert updates[-1].choices[0].finish_reason == "content_filter"
    assert updates[-1].usage.total_tokens > 0


def test_azure_openai_answers_are_annotated(screened: RunningServer):
    client = openai_client(screened, "answers")

    answer = client.chat.completions.create(model="answers", messages=said(THREAT), n=1)
    fine = client.chat.completions.create(model="answers", messages=said("A fine day."))
    chunks = list(
        client.chat.completions.create(model="answers", messages=said("A fine day."), stream=True)
    )

    assert answer.choices[0].content_filter_results["violence"]["filtered"]
    prompts = answer.prompt_filter_results
    assert prompts[0]["content_filter_results"]["violence"]["filtered"] is False
    assert prompts[0]["content_filter_results"]["violence"]["severity"] != "safe"
    harmless = {"filtered": False, "severity": "safe"}
    assert fine.choices[0].content_filter_results["hate"] == harmless
    assert chunks[0].prompt_filter_results[0]["prompt_index"] == 0
    assert chunks[-1].choices[0].content_filter_results["hate"] == harmless


def test_azure_openai_refuses_with_the_same_words(screened: RunningServer):
    with pytest.raises(BadRequestError) as refused:
        openai_client(screened, "strict").chat.completions.create(
            model="strict", messages=said("grue bleen")
        )
    assert refused.value.code == "content_filter"
    assert "content_filter_result" in json.dumps(refused.value.body)


def test_what_was_refused_is_not_in_the_log(screened: RunningServer):
    with pytest.raises(HttpResponseError):
        azure_client(screened, "strict").complete(messages=[UserMessage("grue bleen canary")])
    assert "canary" not in screened.log.read_text()
