"""Mounts and api-versions: every route at every base URL (checklist rows 1, 2, 7, 8, 48)."""

import base64
from typing import Any

import pytest
from raw_http import CHAT, INFO, Door

IMAGE = "data:image/png;base64," + base64.b64encode(b"picture").decode()
MOUNTS = ["", "/v1", "/models", "/api/models", "/inference"]
ROUTES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ("POST", "/completions", {"prompt": "hi"}),
    ("POST", "/embeddings", {"input": ["hi"]}),
    ("POST", "/images/embeddings", {"input": [{"image": IMAGE}]}),
    ("GET", "/info", None),
]
VERSIONS = [
    "2024-04-01-preview",
    "2024-05-01-preview",
    "2025-02-01-preview",
    "2025-04-01",
    "2025-05-01",
    "2025-05-01-preview",
    "2025-05-15-preview",
]
FOREIGN_VERSIONS = ["2024-06-01", "2024-10-21", "2025-08-28", "2031-12-31-preview", "preview", "v1"]


def ask(door: Door, method: str, target: str, body: Any) -> Any:
    return door.get(target) if method == "GET" else door.post(target, body)


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(("method", "route", "body"), ROUTES, ids=[route for _, route, _ in ROUTES])
def test_every_route_is_at_every_mount(many: Door, mount: str, method: str, route: str, body: Any):
    for slash in ("", "/"):
        answer = ask(many, method, f"{mount}{route}{slash}?api-version=2024-05-01-preview", body)
        assert answer.status == 200
        assert answer.header("content-type") == "application/json"


@pytest.mark.parametrize("path", ["/models", "/api/models", *(f"{m}/models" for m in MOUNTS)])
def test_the_list_of_models_is_at_every_mount(many: Door, path: str):
    listed = many.get(f"{path}?api-version=2024-05-01-preview").json
    assert listed["object"] == "list"
    assert [m["id"] for m in listed["data"]][:3] == ["Echo", "second", "talker"]


@pytest.mark.parametrize(("method", "route", "body"), ROUTES, ids=[route for _, route, _ in ROUTES])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_the_api_works_on_every_route(
    many: Door, strict: Door, version: str, method: str, route: str, body: Any
):
    target = f"{route}?api-version={version}"
    assert ask(many, method, target, body).status == 200
    if "embed" in route or method == "GET":
        assert ask(strict, method, target, body).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?api-version=",
        "?api-version",
        "?api-version=2024-05-01-preview&api-version=2024-05-01-preview",
        "?api-version=2024-05-01-preview&api-version=nonsense",
        "?api-version=&api-version=2025-04-01",
        "?tenant=a&api-version=2024-05-01-preview&tenant=b",
        *(f"?api-version={version}" for version in FOREIGN_VERSIONS),
    ],
)
def test_a_missing_doubled_or_foreign_version_works(many: Door, query: str):
    assert many.get(f"/info{query}").status == 200


@pytest.mark.parametrize(
    "version",
    ["nonsense", "2024-5-1", "2024-05-01-beta", "2024-05-01-preview%0d%0ax:y", "24-05-01", "%00"],
)
def test_a_malformed_version_is_refused(many: Door, version: str):
    for answer in (
        many.get(f"/info?api-version={version}"),
        many.get(f"/models?api-version={version}"),
        many.post(f"/chat/completions?api-version={version}", b"{}"),
    ):
        assert answer.status == 400
        assert answer.error["code"] == "invalid_parameter"
        assert answer.error["detail"][0]["loc"] == ["query", "api-version"]


@pytest.mark.parametrize(
    "query", ["", "?api-version=", "?api-version=2024-06-01", "?api-version=v1"]
)
def test_strict_takes_only_the_versions_that_the_api_has_had(strict: Door, query: str):
    for answer in (
        strict.get(f"/info{query}"),
        strict.post(f"/embeddings{query}", {"input": ["hi"]}),
    ):
        assert answer.status == 400
        assert "2024-05-01-preview" in answer.error["message"]


@pytest.mark.parametrize(
    "accept", ["application/json", "text/plain", "text/event-stream", "*/*", ""]
)
def test_accept_decides_nothing(many: Door, accept: str):
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    streamed = many.post(CHAT, body, {"accept": accept})
    assert streamed.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    whole = many.post(CHAT, {**body, "stream": False}, {"accept": accept})
    assert whole.json["object"] == "chat.completion"


@pytest.mark.parametrize("kind", ["application/json; charset=UTF-8", "text/plain", "", "a/b; c"])
def test_the_label_of_the_body_decides_nothing(many: Door, kind: str):
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert many.post(CHAT, body, {"content-type": kind}).status == 200


def test_there_is_no_cors(many: Door):
    answer = many.get(INFO, {"origin": "https://example.org"})
    assert not [name for name, _ in answer.headers if name.startswith("access-control-")]
    preflight = many.call("OPTIONS", CHAT, None, {"origin": "https://example.org"}, key=None)
    assert preflight.status == 401
    assert not [name for name, _ in preflight.headers if name.startswith("access-control-")]
