"""Who may enter: two headers, each judged on its own (checklist rows 3, 4)."""

import pytest
from raw_http import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, INFO, Answer, Door

ALL_ROUTES = [
    ("POST", CHAT),
    ("POST", COMPLETIONS),
    ("POST", EMBEDDINGS),
    ("POST", IMAGES),
    ("GET", INFO),
    ("GET", "/models"),
    ("GET", "/openapi.json"),
    ("GET", "/health/replicas"),
]


def enter(door: Door, **headers: str) -> Answer:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return door.call("GET", INFO, None, shown, key=None)


@pytest.mark.parametrize(
    "headers",
    [
        {"api_key": "{key}"},
        {"authorization": "Bearer {key}"},
        {"authorization": "bearer {key}"},
        {"authorization": "BEARER  {key} "},
        {"api_key": "{key}", "authorization": "Bearer {key}"},
        {"api_key": "{key}", "authorization": "Bearer "},
        {"api_key": "{key}", "authorization": "Bearer"},
        {"api_key": "{key}", "authorization": "Bearer wrong"},
        {"api_key": "{key}", "authorization": "Basic e30="},
        {"api_key": "wrong", "authorization": "Bearer {key}"},
        {"api_key": "", "authorization": "Bearer {key}"},
    ],
    ids=str,
)
def test_either_valid_header_suffices(many: Door, headers: dict[str, str]):
    shown = {name: value.format(key=many.key) for name, value in headers.items()}
    assert enter(many, **shown).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"api_key": ""},
        {"api_key": " "},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "{key}"},
        {"authorization": "Basic {key}"},
        {"authorization": "Bearer: {key}"},
        {"authorization": "Bearer {key}x"},
        {"api_key": "{key}x"},
        {"api_key": "x{key}"},
        {"api_key": "{key},{key}"},
        {"api_key": "Bearer {key}"},
        {"api_key": "wrong", "authorization": "Bearer wrong"},
        {"api_key": "\xe9\xff"},
        {"api_key": "k" * 30_000},
        {"authorization": "Bearer " + "k" * 30_000},
        {"x_api_key": "{key}", "ocp_apim_subscription_key": "{key}"},
        {"cookie": "api-key={key}"},
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_nothing_else_does(many: Door, headers: dict[str, str]):
    shown = {name: value.format(key=many.key) for name, value in headers.items()}
    refused = enter(many, **shown)
    assert refused.status == 401
    assert "auth token validation failed" in refused.error["message"].lower()
    assert refused.error["statusCode"] == 401
    assert refused.header("www-authenticate") == "Bearer"


def test_a_key_in_the_query_does_not_count(many: Door):
    for query in (f"?api-key={many.key}", f"?key={many.key}", f"?access_token={many.key}"):
        assert many.call("GET", f"/info{query}", key=None).status == 401


@pytest.mark.parametrize(("method", "target"), ALL_ROUTES)
def test_every_route_asks_for_the_key(many: Door, method: str, target: str):
    assert many.call(method, target, b"{}", key=None).status == 401
    assert many.call(method, target, b"{}", key="wrong").status == 401


@pytest.mark.parametrize("target", ["/nothing", "/", "/admin", "/health/x", "/openapi.json/x"])
def test_strangers_learn_nothing_about_the_routes(many: Door, target: str):
    assert many.call("GET", target, key=None).status == 401
    assert many.call("DELETE", target, key=None).status == 401


def test_strangers_are_answered_before_their_body_is_read(many: Door):
    head = b"POST /chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    bare = many.connect()
    with bare:
        bare.sendall(head)
        assert bare.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_health_is_open_and_says_little(many: Door):
    answer = many.call("GET", "/health", key=None)
    assert answer.status == 200
    assert answer.json == {"status": "ok"}
