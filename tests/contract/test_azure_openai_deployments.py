"""Azure OpenAI deployments: the path decides the model, and errors have Azure OpenAI's bodies."""

from typing import Any

import pytest
from openai_bytes import CHAT, DEPLOYMENT, TOOLS, USER, event_stream, refusal, steady
from raw_http import Answer, Door

VERSIONS = ["2023-05-15", "2024-02-01", "2024-06-01", "2024-10-21", "2025-08-28", "preview", "v1"]
VERSION = "?api-version=2024-10-21"
BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": USER},
    "completions": {"prompt": "one two"},
    "embeddings": {"input": "one two"},
    "responses": {"input": "one two"},
}


def ask(door: Door, operation: str, deployment: str = "echo", **extra: Any) -> Answer:
    target = f"/openai/deployments/{deployment}/{operation}{VERSION}"
    return door.post(target, {**BODIES[operation], **extra})


def azure_refusal(answer: Answer, status: int) -> dict[str, Any]:
    """A refusal of this dialect: the header has the code as well."""
    error = refusal(answer, status)
    assert answer.header("x-ms-error-code") == error["code"]
    return error


@pytest.mark.parametrize("operation", BODIES)
@pytest.mark.parametrize("model", [None, "", "gpt-4o", "gpt-3.5-turbo", "text-embedding-ada-002"])
def test_the_path_decides_the_model(many: Door, operation: str, model: str | None):
    """Given any `model` in the body, when a deployment is in the path, then that one answers."""
    answer = ask(many, operation, "second", model=model)
    assert answer.json["model"] == "second"
    assert answer.header("x-ms-deployment-name") == "second"


@pytest.mark.parametrize("query", ["", "?api-version=", *(f"?api-version={v}" for v in VERSIONS)])
def test_any_version_is_served(echo_door: Door, query: str):
    """Given any api-version or none, when a deployment is asked, then it works."""
    assert echo_door.post(f"{DEPLOYMENT}/chat/completions{query}", CHAT).status == 200


def test_names_of_deployments_have_no_case(many: Door):
    """Given a deployment in other letters, when it is asked, then it is the same one."""
    assert ask(many, "embeddings", "ECHO").json["model"] == "Echo"


def test_an_answer(echo_door: Door):
    """Given a question, when it is asked whole, then these are the bytes."""
    assert steady(ask(echo_door, "chat/completions")) == (
        '{"id":"chatcmpl-","object":"chat.completion","created":0,"model":"echo","choices":['
        '{"index":0,"message":{"role":"assistant","content":"one two"},"finish_reason":"stop"}],'
        '"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}}'
    )


def test_a_streamed_call_with_its_usage(echo_door: Door):
    """Given what AzureChatOpenAI sends, when a call is streamed, then these are the bytes."""
    head = '{"id":"chatcmpl-","object":"chat.completion.chunk","created":0,"model":"echo",'
    call = (
        '{"index":0,"id":"call_","type":"function","function":'
        '{"name":"look_up","arguments":"{\\"text\\":\\"one two\\"}"}}'
    )
    none = '"usage":null'
    answer = ask(
        echo_door,
        "chat/completions",
        model=None,
        tools=TOOLS,
        stream=True,
        stream_options={"include_usage": True},
    )
    delta = f'{{"role":"assistant","tool_calls":[{call}]}}'
    assert steady(answer) == event_stream(
        f'{head}"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],{none}}}',
        f'{head}"choices":[{{"index":0,"delta":{{}},"finish_reason":"tool_calls"}}],{none}}}',
        f'{head}"choices":[],"usage":'
        '{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}',
    )


def test_a_key_may_come_in_either_header(echo_door: Door):
    """Given the key as a bearer token or as api-key, when a deployment is asked, then it works."""
    target = f"{DEPLOYMENT}/chat/completions{VERSION}"
    for header in ({"api-key": echo_door.key}, {"authorization": f"Bearer {echo_door.key}"}):
        body = b'{"messages":[{"role":"user","content":"hi"}]}'
        assert echo_door.call("POST", target, body, header, key=None).status == 200


@pytest.mark.parametrize("operation", BODIES)
def test_an_unknown_deployment_is_not_found(many: Door, echo_door: Door, operation: str):
    """Given a name that nothing is deployed under, when it is asked, then in Azure's own words."""
    for door in (many, echo_door):
        error = azure_refusal(ask(door, operation, "gpt-4o"), 404)
        assert error["code"] == "DeploymentNotFound"
        assert error["message"].startswith("The API deployment for this resource does not exist.")
        assert "gpt-4o" in error["message"]
        assert error["type"] is error["param"] is None


def test_a_wrong_key_is_refused_in_azures_words(echo_door: Door):
    """Given a wrong key, when a deployment is asked, then the body is Azure OpenAI's."""
    for deployment in ("echo", "gpt-4o"):
        target = f"/openai/deployments/{deployment}/chat/completions{VERSION}"
        error = azure_refusal(echo_door.call("POST", target, b"{}", key="wrong"), 401)
        assert error["code"] == "401"
        assert error["message"].startswith("Access denied due to invalid subscription key")


def test_a_wrong_value_is_refused_in_openais_words(echo_door: Door):
    """Given a value out of bounds, when it is sent, then `param` and type are OpenAI's."""
    error = azure_refusal(ask(echo_door, "chat/completions", temperature=3), 400)
    assert error == {
        "message": "'temperature' must be between 0 and 2.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": "invalid_value",
    }


def test_there_are_no_extra_parameters_here(echo_door: Door):
    """Given the header of the other dialect, when a standard key comes, then it just works."""
    target = f"{DEPLOYMENT}/chat/completions{VERSION}"
    for mode in ("error", "drop", "pass-through"):
        headers = {"extra-parameters": mode}
        choices = echo_door.post(target, {**CHAT, "n": 2}, headers).json["choices"]
        assert len(choices) == 2
        error = azure_refusal(echo_door.post(target, {**CHAT, "foo": 1}, headers), 400)
        assert error["message"] == "Unrecognized request argument supplied: foo"


@pytest.mark.parametrize("path", ["/info", "", "/nothing", "/images/generations", "/chat"])
def test_what_a_deployment_lacks_is_not_found(echo_door: Door, path: str):
    """Given another path below a deployment, when it is asked for, then it is not found."""
    error = azure_refusal(echo_door.get(f"{DEPLOYMENT}{path}{VERSION}"), 404)
    assert error["code"] == "404"
    assert error["message"].startswith("Resource not found.")
    assert "/openai/deployments/NAME" in error["message"]


def test_a_client_that_forgot_the_deployment_is_told_where_to_go(echo_door: Door):
    """Given /openai alone as the base path, when a chat is asked for, the message has the way."""
    error = azure_refusal(echo_door.post(f"/openai/chat/completions{VERSION}", CHAT), 404)
    assert "/openai/v1/chat/completions" in error["message"]


def test_a_wrong_method_is_told_the_right_one(echo_door: Door):
    """Given GET where POST belongs, when it is sent, then the answer names POST."""
    answer = echo_door.get(f"{DEPLOYMENT}/chat/completions{VERSION}")
    assert answer.header("allow") == "POST"
    assert azure_refusal(answer, 405)["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/openai/deployments", "/openai/models"])
def test_deployments_are_listed(many: Door, path: str):
    """Given several deployments, when they are listed, then all are there in their order."""
    listed = many.get(f"{path}{VERSION}").json
    assert listed["object"] == "list"
    names = [entry["id"] for entry in listed["data"]]
    assert names == ["Echo", "second", "talker", "embedder", "narrow", "fragile"]


def test_a_model_is_shown(many: Door):
    """Given AzureOpenAI's models.retrieve, when it names a deployment, then that one is shown."""
    assert many.get(f"/openai/models/second{VERSION}").json["id"] == "second"
    error = azure_refusal(many.get(f"/openai/models/gpt-4o{VERSION}"), 404)
    assert error["code"] == "DeploymentNotFound"


def test_responses_outside_deployments_name_the_model(many: Door):
    """Given AzureOpenAI's responses.create, when its body names a deployment, that one answers."""
    target = f"/openai/responses{VERSION}"
    assert many.post(target, {"model": "second", "input": "hi"}).json["model"] == "second"
    error = azure_refusal(many.post(target, {"model": "gpt-4o", "input": "hi"}), 404)
    assert error["code"] == "DeploymentNotFound"
    assert azure_refusal(many.post(target, {"input": "hi"}), 400)["param"] == "model"


def test_a_stream_that_breaks_says_so_and_has_no_end(echo_door: Door):
    """Given an engine that fails in mid-stream, when it does, an error event is the last."""
    messages = [{"role": "user", "content": "/fail-after 1 x"}]
    answer = ask(echo_door, "chat/completions", messages=messages, stream=True)
    assert not answer.whole
    assert answer.payloads[-1].startswith(b'{"error":{"message":"The engine was told to fail."')
