"""The OpenAPI document: valid, complete, and true of the server that shows it."""

from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from raw_http import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, INFO, Door

PNG = "data:image/png;base64,aGk="
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "/chat/completions": (CHAT, {"messages": [{"role": "user", "content": "hi"}]}),
    "/completions": (COMPLETIONS, {"prompt": "hi"}),
    "/embeddings": (EMBEDDINGS, {"input": ["hi"]}),
    "/images/embeddings": (IMAGES, {"input": [{"image": PNG}]}),
}


@pytest.fixture(scope="module")
def document(many: Door) -> dict[str, Any]:
    found: dict[str, Any] = many.get("/openapi.json").json
    return found


def test_it_is_valid_openapi_3_1(document: dict[str, Any]):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0"


def test_it_has_every_operation(document: dict[str, Any]):
    assert {(path, method) for path, item in document["paths"].items() for method in item} >= {
        ("/chat/completions", "post"),
        ("/completions", "post"),
        ("/embeddings", "post"),
        ("/images/embeddings", "post"),
        ("/info", "get"),
        ("/models", "get"),
    }
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(ids) == len(set(ids))


def test_every_path_is_at_every_base_it_names(many: Door, document: dict[str, Any]):
    for server in document["servers"]:
        for path, item in document["paths"].items():
            target = f"{server['url'].rstrip('/')}{path}?api-version=2024-05-01-preview"
            for method in [m for m, operation in item.items() if "servers" not in operation]:
                found = many.call(method.upper(), target, b"")
                assert found.status == (200 if method == "get" else 400), target


def held_against(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize("path", REQUESTS)
def test_what_it_says_of_bodies_is_true(many: Door, document: dict[str, Any], path: str):
    target, body = REQUESTS[path]
    operation = document["paths"][path]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
    refused = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
    held_against(document, asked, body)
    held_against(document, answered, many.post(target, body).json)
    held_against(document, refused, many.post(target, {**body, "foo": 1}).json)
    held_against(document, refused, many.post(target, {**body, "model": 5}).json)
    with pytest.raises(jsonschema.ValidationError):
        held_against(document, asked, {**body, "model": 5})


@pytest.mark.parametrize(("path", "target"), [("/info", INFO), ("/models", "/models")])
def test_what_it_says_of_reading_is_true(
    many: Door, document: dict[str, Any], path: str, target: str
):
    answered = document["paths"][path]["get"]["responses"]["200"]
    schema = answered["content"]["application/json"]["schema"]
    held_against(document, schema, many.get(target).json)


def test_it_says_what_every_model_can_do(document: dict[str, Any]):
    chat = document["paths"]["/chat/completions"]["post"]["x-zaffre-models"]
    assert set(chat) == {"Echo", "second", "talker", "narrow", "fragile"}
    assert chat["talker"]["parameters"]["temperature"] == {"minimum": 0, "maximum": 2}
    embeddings = document["paths"]["/embeddings"]["post"]["x-zaffre-models"]
    assert "talker" not in embeddings
    assert embeddings["embedder"]["dimensions"] == 8
