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
  - {name: tokens, auth_mode: aml_token, traffic: {only: 100}}
deployments:
  - {name: blue, endpoint: chat, model: echo, instance_count: 2}
  - {name: green, endpoint: chat, model: echo, slots: 3}
  - {name: only, endpoint: tokens, model: echo}
  - {name: alone, model: echo}
"""
NAMES = {"endpoint": "chat", "deployment": "blue"}
ALONE = {"deployment": "alone"}
NOBODY = {"endpoint": "nobody", "deployment": "nothing", "key": "nokey"}


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
    assert len(operations) >= 12
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
        ("post", "/admin/endpoints/{endpoint}/keys", {"key_type": "secondary"}),
        ("post", "/admin/endpoints/tokens/keys", {}),
        ("post", "/admin/endpoints/tokens/token", {"lifetime_s": 60}),
        (
            "post",
            "/admin/keys",
            {"name": "till", "endpoints": ["chat"], "limits": {"requests_per_minute": 9}},
        ),
        ("post", "/admin/keys", {"name": "n", "operations": ["chat"], "expires_at": 2**40}),
    ]
    for method, path, body in changes:
        operation = document["paths"][path.replace("/tokens/", "/{endpoint}/")][method]
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


def test_what_needs_no_body_is_documented_as_it_answers(door: Door, document: dict[str, Any]):
    """Given a key, when it is rotated and then revoked, then both answers fit their schemas."""
    door.post("/admin/keys", {"name": "passing"})
    for method, path in (("post", "/admin/keys/{key}/rotate"), ("delete", "/admin/keys/{key}")):
        operation = document["paths"][path][method]
        found = door.call(method.upper(), path.format(key="passing"), b"")
        assert found.status == 200
        assert "requestBody" not in operation
        held_against(document, answer_schema(operation), found.json)


def test_a_token_fits_the_schema_of_credentials(door: Door, document: dict[str, Any]):
    """Given an endpoint whose callers show tokens, when its credentials are asked for, then a
    token comes, in the words that Azure has for it."""
    operation = document["paths"]["/admin/endpoints/{endpoint}/keys"]["get"]
    found = door.get("/admin/endpoints/tokens/keys").json
    held_against(document, answer_schema(operation), found)
    assert set(found) == {"accessToken", "tokenType", "expiryTimeUtc", "refreshAfterTimeUtc"}


def test_usage_is_documented_with_its_query(door: Door, document: dict[str, Any]):
    """Given the query of usage, when each of its words is used, then it counts, and a wrong one is
    refused by name."""
    operation = document["paths"]["/admin/usage"]["get"]
    assert [p["name"] for p in operation["parameters"]] == ["by", "since", "mirrored"]
    assert "`read_usage`" in operation["description"]
    door.post("/chat/completions", {"messages": [{"role": "user", "content": "one two"}]})
    for query in ("by=model&since=7d", "by=day&since=2026-01-01", "mirrored=true", ""):
        found = door.get(f"/admin/usage?{query}")
        held_against(document, answer_schema(operation), found.json)
        assert bool(found.json) == (query != "mirrored=true")
    for name, value in (("by", "colour"), ("since", "yesterday"), ("mirrored", "maybe")):
        wrong = door.get(f"/admin/usage?{name}={value}")
        assert wrong.status == 400
        assert f"'{name}'" in wrong.json["message"]


def test_every_route_that_it_names_is_there(door: Door, document: dict[str, Any]):
    """Given names of nothing, when a documented route is asked to delete, then it says so: the
    route is there, the thing is not."""
    for path in admin_operations(document, "delete"):
        found = door.call("DELETE", path.format_map(NOBODY), b"")
        assert found.status == 404
        assert any(f"'{name}'" in found.json["message"] for name in NOBODY.values())
    assert door.call("PUT", "/admin/replicas", b"").status == 405
    assert door.get("/admin/nothing").status == 404
