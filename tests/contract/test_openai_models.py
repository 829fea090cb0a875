"""OpenAI v1's models, which one answers, and what is said of paths that are not there."""

from typing import Any

import pytest
from openai_bytes import CHAT, USER, V1, refusal
from raw_http import Door

AZURE_HEADERS = {"user-agent": "azsdk-python-ai-inference/1.0.0b9 Python/3.11"}


@pytest.mark.parametrize("mount", [V1, "/v1"])
def test_models_are_listed(many: Door, mount: str):
    """Given several models, when they are listed, then each is a model of OpenAI's shape."""
    listed = many.get(f"{mount}/models").json
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]][:2] == ["Echo", "second"]
    for entry in listed["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["created"], int)
        assert entry["owned_by"]


@pytest.mark.parametrize("mount", [V1, "/v1"])
def test_a_model_is_shown(many: Door, mount: str):
    """Given a name, when its model is asked for, then it is the list's own entry."""
    listed = many.get(f"{mount}/models").json["data"]
    assert many.get(f"{mount}/models/second").json == listed[1]
    error = refusal(many.get(f"{mount}/models/gpt-4o"), 404)
    assert (error["code"], error["param"]) == ("unknown_model", "model")


def test_a_model_must_be_named(many: Door):
    """Given no model, when a chat is asked for, then there is no default on this base path."""
    for nothing in ({}, {"model": None}, {"model": ""}):
        error = refusal(many.post(f"{V1}/chat/completions", {"messages": USER, **nothing}), 400)
        assert error["message"] == "You must provide a model parameter."
        assert error["param"] == "model"


def test_an_unknown_model_is_not_found(many: Door, echo_door: Door):
    """Given a name that nothing is deployed under, when it is asked for, then by 404."""
    for door in (many, echo_door):
        error = refusal(door.post(f"{V1}/chat/completions", {**CHAT, "model": "gpt-4o"}), 404)
        assert error == {
            "message": "Unknown model: gpt-4o",
            "type": "invalid_request_error",
            "param": "model",
            "code": "unknown_model",
        }


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat/completions", {"model": "embedder", "messages": USER}),
        ("completions", {"model": "embedder", "prompt": "a"}),
        ("responses", {"model": "embedder", "input": "a"}),
        ("embeddings", {"model": "talker", "input": "a"}),
    ],
)
def test_an_operation_that_the_model_lacks_is_not_found(many: Door, operation: str, body: Any):
    """Given a model of another kind, when it is asked, then the refusal says what it can do."""
    error = refusal(many.post(f"{V1}/{operation}", body), 404)
    assert "not found" in error["message"]
    assert "which supports" in error["message"]


def test_a_request_without_signs_speaks_openai_under_v1(many: Door):
    """Given the base path of both dialects, when nothing tells them apart, then it is OpenAI's."""
    answer = many.post("/v1/chat/completions", {**CHAT, "n": 2}).json
    assert answer["id"].startswith("chatcmpl-")
    assert len(answer["choices"]) == 2
    assert many.post("/v1/chat/completions", {"messages": USER}).json["model"] == "Echo"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?api-version=2024-05-01-preview", {}),
        ("?api-version=", {}),
        ("", {"extra-parameters": "error"}),
        ("", {"azureml-model-deployment": "second"}),
        ("", {"x-ms-model-mesh-model-name": "second"}),
        ("", AZURE_HEADERS),
        ("", {"user-agent": "app azure-ai-inference/1.0.0-beta.6"}),
    ],
    ids=str,
)
def test_a_request_with_signs_speaks_azure_under_v1(
    many: Door, query: str, headers: dict[str, str]
):
    """Given a sign of the Azure dialect, when it comes to /v1, then that dialect answers."""
    target = f"/v1/chat/completions{query}"
    answer = many.post(target, {"messages": USER}, headers)
    assert not answer.json["id"].startswith("chatcmpl-")
    assert answer.header("azureml-model-deployment")
    refused = many.post(target, {"messages": USER, "n": 2}, headers)
    assert refused.error["code"] == "extra_parameters_not_allowed"


def test_v1_has_the_routes_of_both(many: Door):
    """Given routes that one dialect has alone, when they are asked for, then they are there."""
    assert many.post("/v1/responses", {"model": "Echo", "input": "hi"}).status == 200
    assert many.get("/v1/info").json["model_name"] == "echo"


def test_the_path_of_github_models_is_a_mount(many: Door):
    """Given /inference, when the Azure dialect is spoken there, then it answers."""
    body = {"messages": USER, "model": "second"}
    answer = many.post("/inference/chat/completions", body)
    assert answer.json["model"] == answer.header("azureml-model-deployment") == "second"


@pytest.mark.parametrize(
    ("path", "right"),
    [
        (f"{V1}/v1/chat/completions", f"{V1}/chat/completions"),
        (f"{V1}/openai/v1/embeddings", f"{V1}/embeddings"),
        (f"{V1}/engines/echo/completions", f"{V1}/completions"),
    ],
)
def test_a_wrong_base_path_is_told_the_right_one(many: Door, path: str, right: str):
    """Given a base path with a piece too many, when it is used, then the message mends it."""
    error = refusal(many.post(path, CHAT), 404)
    assert error["code"] == "not_found"
    assert right in error["message"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/assistants", "/responses/resp_1", "/audio/speech", "/files"]
)
def test_what_is_not_there_is_told_what_is(many: Door, path: str):
    """Given an operation that this server lacks, when it is asked for, then the bases are named."""
    error = refusal(many.get(f"{V1}{path}"), 404)
    assert error["type"] == "invalid_request_error"
    assert "/openai/deployments/NAME" in error["message"]


def test_a_wrong_method_is_told_the_right_one(many: Door):
    """Given GET where POST belongs, when it is sent, then the answer names POST."""
    answer = many.get(f"{V1}/chat/completions")
    assert answer.header("allow") == "POST"
    assert refusal(answer, 405)["code"] == "method_not_allowed"


def test_a_wrong_key_is_refused_before_anything_else(many: Door):
    """Given a wrong key, when anything is asked for, then routes and models stay unknown."""
    for path in ("/chat/completions", "/nothing", "/models/gpt-4o"):
        answer = many.call("POST", f"{V1}{path}", b"{}", key="wrong")
        error = refusal(answer, 401)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert answer.header("www-authenticate") == "Bearer"
