"""Bad bodies on every route: always a refusal, never a fault of ours, never a hang."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, PASS, Answer, Door

PNG = "data:image/png;base64,aGk="
GOOD: dict[str, dict[str, Any]] = {
    CHAT: {
        "messages": [{"role": "user", "content": "hi"}],
        "model": "Echo",
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 5,
        "stop": ["x"],
        "stream": False,
        "seed": 5,
        "response_format": {"type": "text"},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "none",
        "modalities": ["text"],
    },
    COMPLETIONS: {
        "prompt": "hi",
        "model": "Echo",
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 5,
        "stop": "x",
        "stream": False,
        "seed": 5,
    },
    EMBEDDINGS: {
        "input": ["hi"],
        "model": "embedder",
        "dimensions": 4,
        "encoding_format": "float",
        "input_type": "query",
    },
    IMAGES: {
        "input": [{"image": PNG, "text": "hi"}],
        "model": "embedder",
        "dimensions": 4,
        "encoding_format": "float",
        "input_type": "query",
    },
}
OPENAI = [
    "/openai/v1/chat/completions",
    "/openai/v1/embeddings",
    "/openai/deployments/Echo/completions",
]
every_route = pytest.mark.parametrize("target", [*GOOD, *OPENAI])
azure_routes = pytest.mark.parametrize("target", GOOD)


def fields_of(body: Any) -> list[tuple[str, ...]]:
    return [(target, name) for target, fields in body.items() for name in fields]


def held(answer: Answer) -> Answer:
    """What is true of every answer, however bad the request: no 5xx, and errors in full form."""
    assert answer.status in (200, 400, 404, 413, 422), answer.body
    assert answer.whole
    if answer.status != 200:
        error = answer.json["error"]
        assert error["code"]
        assert error["message"]
        assert "Traceback" not in error["message"]
    return answer


def test_the_good_bodies_are_good(many: Door):
    for target, body in GOOD.items():
        assert many.post(target, body).status == 200


@every_route
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\x00",
        b"hello",
        b"{",
        b"{}",
        b"}",
        b'{"a"}',
        b'{"a":1,}',
        b"{'a':1}",
        b"[]",
        b"null",
        b"true",
        b'"text"',
        b"12",
        b"NaN",
        b"Infinity",
        b'{"temperature":NaN}',
        b'{"temperature":-Infinity}',
        b'{"temperature":1e999}',
        b'{"max_tokens":' + b"9" * 10_000 + b"}",
        b'{"seed":-' + b"9" * 100_000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"model":"\xff"}',
        b'{"\xff":1}',
        b'{"model":"\\ud800"}',
        b'{"model":"\\udc00\\ud800"}',
        b'{"model":"a\nb"}',
        b'{"model":"a\x00b"}',
        b'{"a":1}{"b":2}',
        b'{"a":1}\x00',
        b"{}" + b" " * 100_000,
        b"[" * 25_000 + b"]" * 25_000,
        b"[" * 1_000_000,
        b'{"a":' * 25_000 + b"1" + b"}" * 25_000,
        b'{"messages":' + b"[" * 25_000 + b"]" * 25_000 + b"}",
        b'{"input":' + b'{"a":' * 25_000 + b"1" + b"}" * 25_000 + b"}",
        b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--",
        b"messages=hi&model=Echo",
        b"<xml/>",
        gzip.compress(b"{}", mtime=0),
    ],
    ids=lambda body: f"{body[:24]!r}-{len(body)}",
)
def test_what_is_not_the_routes_json_is_refused(many: Door, target: str, body: bytes):
    answer = held(many.post(target, body))
    # An absent prompt is the docs' default one (section 6.1), so an empty object completes.
    assert answer.status == 400 or ("/completions" in target and body.strip() == b"{}")


@pytest.mark.parametrize(("target", "name"), fields_of(GOOD))
def test_every_field_survives_every_type(many: Door, target: str, name: str):
    deep = json.loads("[" * 900 + "]" * 900)
    for value in (0, -1, 1.5, 2**64, -(10**30), "", "x", "\x00", True, [], [[]], [None], {}, deep):
        held(many.post(target, {**GOOD[target], name: value}))
        held(many.post(target, {**GOOD[target], name: [value]}))
        held(many.post(target, {**GOOD[target], name: {"type": value}}))


@azure_routes
@pytest.mark.parametrize("depth", [32, 64, 200, 500, 900, 940, 960, 970, 980, 990, 1000, 25_000])
def test_any_depth_is_taken_or_refused(many: Door, target: str, depth: int):
    """Python's own bound on recursion lies somewhere in there, for each layer at another depth."""
    nested = "[" * depth + "]" * depth
    for name in ("foo", "tools", "input", "prompt"):
        body = json.dumps({**GOOD[target], name: 0}).replace(f'"{name}": 0', f'"{name}": {nested}')
        held(many.post(target, body.encode(), PASS))


@pytest.mark.parametrize("stream", ["false", "true"])
def test_schemas_of_any_depth_are_taken_or_refused(many: Door, stream: str):
    """Each layer meets Python's bound on recursion at a depth of its own, so none is left out."""
    said = f'"messages":[{{"role":"user","content":"hi"}}],"stream":{stream}'
    for depth in [32, 64, 500, *range(930, 1000), 25_000]:
        nested = '{"items":' * depth + "{}" + "}" * depth
        tool = '{"type":"function","function":{"name":"f","parameters":' + nested + "}}"
        form = '{"type":"json_schema","json_schema":{"name":"f","schema":' + nested + "}}"
        for answer in (
            many.post(CHAT, f'{{{said},"tools":[{tool}]}}'.encode()),
            many.post(CHAT, f'{{{said},"response_format":{form}}}'.encode()),
        ):
            assert answer.status in (200, 400, 422), (depth, answer.body)


@azure_routes
def test_a_refusal_is_short_however_long_what_it_refuses(many: Door, target: str):
    long = "x" * 1_000_000
    for changed in ({"model": long}, {"input_type": long}, {"seed": long}, {"tool_choice": long}):
        answer = held(many.post(target, {**GOOD[target], **changed}))
        assert answer.status in (400, 422)
        assert len(answer.body) < 20_000
    answer = held(many.post(target, {**GOOD[target], "foo": [[long], [[long]]]}, PASS))
    assert answer.status == 422
    assert len(answer.body) < 20_000


def test_a_wrong_type_is_shown_again(many: Door):
    answer = many.post(CHAT, {**GOOD[CHAT], "temperature": "hot"})
    assert answer.error["detail"][0]["input"] == "hot"
    answer = many.post(CHAT, {**GOOD[CHAT], "messages": [{"role": {"a": 1}}]})
    assert answer.error["detail"][0]["loc"] == ["body", "messages", 0, "role"]
    assert answer.error["detail"][0]["input"] == "{'a': 1}"


def test_a_giant_text_is_taken_where_it_is_one(many: Door):
    giant = "x" * 3_000_000
    assert many.chat(giant).json["choices"][0]["message"]["content"] == giant
    assert held(many.post(EMBEDDINGS, {"input": giant})).status == 200


@azure_routes
def test_a_compressed_body_is_refused_in_words(many: Door, target: str):
    packed = gzip.compress(json.dumps(GOOD[target]).encode())
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, identity"):
        answer = held(many.post(target, packed, {"content-encoding": coding}))
        assert answer.status == 400
        assert "ompress" in answer.error["message"]
    plain = json.dumps(GOOD[target]).encode()
    assert many.post(target, plain, {"content-encoding": "identity"}).status == 200


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MODES = st.sampled_from(["error", "drop", "pass-through"])
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@azure_routes
@given(chosen=st.data(), mode=MODES)
@quick
def test_any_value_in_any_field_is_taken_or_refused(
    many: Door, target: str, chosen: Any, mode: str
):
    name = chosen.draw(st.sampled_from(sorted(GOOD[target])))
    body = {**GOOD[target], name: chosen.draw(JSON_VALUES)}
    body.pop(chosen.draw(st.sampled_from(["", *sorted(GOOD[target])])), None)
    held(many.post(target, body, {"extra-parameters": mode}))


@azure_routes
@given(chosen=st.data())
@quick
def test_any_damage_to_a_good_body_is_survived(many: Door, target: str, chosen: Any):
    whole = json.dumps(GOOD[target]).encode()
    start = chosen.draw(st.integers(0, len(whole)))
    end = chosen.draw(st.integers(start, len(whole)))
    held(many.post(target, whole[:start] + chosen.draw(st.binary(max_size=6)) + whole[end:]))
