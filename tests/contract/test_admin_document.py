"""The admin API in the OpenAPI document: every route of it, and true of what the server answers."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from raw_http import Door

from servers import running_server

DECLARED = """\
endpoints:
  - {name: chat, traffic: {blue: 90, green: 10}, tags: {team: search}}
  - {name: one, model: echo, content_safety: "off"}
deployments:
  - {name: blue, endpoint: chat, model: echo, instance_count: 2}
  - {name: green, endpoint: chat, model: echo, slots: 3}
  - {name: alone, model: echo}
"""
NAMES = {"endpoint": "chat", "deployment": "blue"}
ALONE = {"deployment": "alone"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("admin")
    (folder / "zaffre.yaml").write_text(DECLARED)
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as server:
        yield Door(server.port, server.key)


@pytest.fixture(scope="module")
def document(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = door.get("/openapi.json").json
    return found


def admin_operations(document: dict[str, Any], method: str) -> dict[str, dict[str, Any]]:
    return {
        path: item[method]
        for path, item in document["paths"].items()
        if path.startswith("/admin/") and method in item
    }


def held_against(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def answer_schema(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return found


def test_what_it_says_of_reading_is_true(door: Door, document: dict[str, Any]):
    """Given every GET of the admin API, when it is asked, then the answer fits its schema."""
    operations = admin_operations(document, "get")
    assert len(operations) >= 9
    for path, operation in operations.items():
        names = NAMES if "{endpoint}" in path else ALONE
        found = door.get(path.format(**names))
        assert found.status == 200, path
        held_against(document, answer_schema(operation), found.json)


def test_serverless_endpoints_fit_the_same_schema(door: Door, document: dict[str, Any]):
    """Given the query that lists serverless endpoints, when it is used, then it is documented."""
    operation = document["paths"]["/admin/endpoints"]["get"]
    [parameter] = operation["parameters"]

    found = door.get(f"/admin/endpoints?{parameter['name']}=serverless").json

    assert [endpoint["name"] for endpoint in found] == ["one"]
    assert parameter["schema"]["enum"] == ["managed", "serverless"]
    held_against(document, answer_schema(operation), found)


def test_what_it_says_of_changing_is_true(door: Door, document: dict[str, Any]):
    """Given documents and shares, when they are sent, then request and answer fit their schemas,
    and what does not fit is refused."""
    changes = [
        ("post", "/admin/documents", {"documents": [door.get("/admin/endpoints/chat").json]}),
        ("patch", "/admin/endpoints/{endpoint}", {"traffic": {"blue": 100}}),
    ]
    for method, path, body in changes:
        operation = document["paths"][path][method]
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        refused = operation["responses"]["4XX"]["content"]["application/json"]["schema"]

        target, stranger = path.format(**NAMES), {**body, "foo": 1}
        found = door.call(method.upper(), target, json.dumps(body).encode())
        wrong = door.call(method.upper(), target, json.dumps(stranger).encode())

        held_against(document, asked, body)
        held_against(document, answer_schema(operation), found.json)
        assert wrong.status == 400
        held_against(document, refused, wrong.json)
        with pytest.raises(jsonschema.ValidationError):
            held_against(document, asked, stranger)


def test_every_route_that_it_names_is_there(door: Door, document: dict[str, Any]):
    """Given names of nothing, when a documented route is asked to delete, then it says so: the
    route is there, the thing is not."""
    for path in admin_operations(document, "delete"):
        found = door.call("DELETE", path.format(endpoint="nobody", deployment="nothing"), b"")
        assert found.status == 404
        assert "'nobody'" in found.json["message"] or "'nothing'" in found.json["message"]
    assert door.call("PUT", "/admin/replicas", b"").status == 405
    assert door.get("/admin/nothing").status == 404
