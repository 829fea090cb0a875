"""Which model answers, and what `/info` says of it (checklist rows 28 to 30, 32 to 36)."""

from typing import Any

import pytest
from raw_http import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, INFO, Answer, Door

IMAGE = {"image": "data:image/png;base64,aGk="}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    COMPLETIONS: {"prompt": "hi"},
    EMBEDDINGS: {"input": ["hi"]},
    IMAGES: {"input": [IMAGE]},
}
MESH = "x-ms-model-mesh-model-name"
DEPLOYMENT = "azureml-model-deployment"


def who(answer: Answer) -> str:
    """Who answered: said in the body and in a header."""
    assert answer.status == 200, answer.body
    name = answer.json["model"]
    assert answer.header(DEPLOYMENT) == name
    return str(name)


@pytest.mark.parametrize("target", BODIES)
def test_the_default_answers_when_none_is_named(many: Door, target: str):
    for nothing in ({}, {"model": None}, {"model": ""}):
        assert who(many.post(target, {**BODIES[target], **nothing})) == "Echo"
    assert who(many.post(target, BODIES[target], {MESH: "", DEPLOYMENT: " "})) == "Echo"


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize("name", ["second", "SECOND", "Second"])
def test_the_body_or_a_header_names_it_in_any_case(many: Door, target: str, name: str):
    assert who(many.post(target, {**BODIES[target], "model": name})) == "second"
    assert who(many.post(target, BODIES[target], {MESH: name})) == "second"
    assert who(many.post(target, BODIES[target], {DEPLOYMENT: name})) == "second"


def test_the_deployment_header_beats_the_body_beats_the_mesh_header(many: Door):
    body = {**BODIES[CHAT], "model": "talker"}
    assert who(many.post(CHAT, body, {DEPLOYMENT: "second", MESH: "narrow"})) == "second"
    assert who(many.post(CHAT, body, {MESH: "narrow"})) == "talker"


@pytest.mark.parametrize("target", BODIES)
def test_an_unknown_model_is_refused(many: Door, target: str):
    for answer in (
        many.post(target, {**BODIES[target], "model": "gpt-4"}),
        many.post(target, BODIES[target], {MESH: "gpt-4"}),
        many.post(target, BODIES[target], {DEPLOYMENT: "gpt-4"}),
        many.post(
            target,
            {**BODIES[target], "model": "gpt-4", "stream": False},
            {"extra-parameters": "drop"},
        ),
    ):
        assert answer.status == 400
        assert answer.error["code"] == "unknown_model"
        assert answer.error["message"] == "Unknown model: gpt-4"


def test_an_unknown_model_is_refused_before_a_stream_begins(many: Door):
    answer = many.chat(model="gpt-4", stream=True)
    assert answer.status == 400
    assert answer.error["code"] == "unknown_model"


@pytest.mark.parametrize(
    ("target", "model"),
    [(CHAT, "embedder"), (COMPLETIONS, "embedder"), (EMBEDDINGS, "talker"), (IMAGES, "talker")],
)
def test_a_modality_that_the_model_lacks_is_not_found(many: Door, target: str, model: str):
    answer = many.post(target, {**BODIES[target], "model": model})
    assert answer.status == 404
    assert "not found" in answer.error["message"]


def test_one_model_answers_to_any_name(strict: Door, echo_door: Door):
    for name in ("gpt-4", "text-embedding-ada-002", ""):
        body = {**BODIES[EMBEDDINGS], "model": name}
        assert who(strict.post(EMBEDDINGS, body)) == "only"
        assert who(strict.post(EMBEDDINGS, BODIES[EMBEDDINGS], {MESH: name})) == "only"
        assert who(echo_door.chat(model=name)) == "echo"
    answer = strict.post(CHAT, {**BODIES[CHAT], "model": "gpt-4"})
    assert answer.status == 404
    assert "not found" in answer.error["message"]


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("", {}, ["echo", "chat-completion", "zaffre"]),
        ("&model=talker", {}, ["Talker 1", "chat-completion", "acme"]),
        ("&model=EMBEDDER", {}, ["embedder", "image-embeddings", "acme"]),
        ("&model=", {}, ["echo", "chat-completion", "zaffre"]),
        ("", {DEPLOYMENT: "talker"}, ["Talker 1", "chat-completion", "acme"]),
        ("", {MESH: "talker"}, ["Talker 1", "chat-completion", "acme"]),
        ("&model=embedder", {DEPLOYMENT: "talker"}, ["Talker 1", "chat-completion", "acme"]),
        ("&model=talker", {MESH: "embedder"}, ["Talker 1", "chat-completion", "acme"]),
    ],
)
def test_info_has_three_fields(
    many: Door, query: str, headers: dict[str, str], expected: list[str]
):
    names = ["model_name", "model_type", "model_provider_name"]
    assert many.get(f"{INFO}{query}", headers).json == dict(zip(names, expected, strict=True))


def test_info_of_an_unknown_model_is_refused(many: Door):
    answer = many.get(f"{INFO}&model=gpt-4")
    assert answer.status == 400
    assert answer.error["code"] == "unknown_model"


def test_the_list_says_what_every_model_can_do(many: Door):
    listed = {entry["id"]: entry for entry in many.get("/models").json["data"]}
    assert set(listed) == {"Echo", "second", "talker", "embedder", "narrow", "fragile"}
    talker, embedder = listed["talker"], listed["embedder"]
    assert talker["object"] == "model"
    assert isinstance(talker["created"], int)
    assert talker["owned_by"] == "acme"
    assert sorted(talker["capabilities"]["operations"]) == ["chat", "complete"]
    assert sorted(embedder["capabilities"]["operations"]) == ["embed", "embed_images"]
    assert embedder["capabilities"]["reducible_dimensions"] is True
