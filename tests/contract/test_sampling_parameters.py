"""Sampling parameters: what is taken, what is refused and where (rows 19, 23, 24)."""

from typing import Any

import pytest
from raw_http import CHAT, COMPLETIONS, PASS, Answer, Door

BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "one two three four"}]},
    COMPLETIONS: {"prompt": "one two three four"},
}
both = pytest.mark.parametrize("target", BODIES)


def text_of(answer: Answer) -> tuple[str, str]:
    assert answer.status == 200, answer.body
    choice = answer.json["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"], choice[
        "finish_reason"
    ]


def post(door: Door, target: str, **asked: Any) -> Answer:
    return door.post(target, {**BODIES[target], **asked})


@both
@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": 0.7},
        {"temperature": 1e-300},
        {"top_p": 0},
        {"top_p": 1.0},
        {"frequency_penalty": -2},
        {"frequency_penalty": 2},
        {"presence_penalty": -2.0},
        {"presence_penalty": 2},
        {"max_tokens": 2147483647},
        {"seed": 0},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1},
        {"stop": None, "seed": None, "temperature": None, "max_tokens": None, "stream": None},
        {"stop": []},
        {"stop": ["never"] * 16},
    ],
    ids=str,
)
def test_what_lies_in_the_range_is_taken(many: Door, target: str, asked: dict[str, Any]):
    assert text_of(post(many, target, **asked)) == ("one two three four", "stop")


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", 9.9),
        ("top_p", -1),
        ("top_p", 1.0001),
        ("frequency_penalty", 2.5),
        ("presence_penalty", -3),
        ("max_tokens", -3),
        ("max_tokens", 2147483648),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 10**400),
        ("max_tokens", 10**4000),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_lies_outside_is_refused_with_its_place(
    many: Door, target: str, name: str, value: float
):
    for stream in (False, True):
        answer = post(many, target, stream=stream, **{name: value})
        assert answer.status == 422
        assert answer.error["code"] == "parameter_not_supported"
        (detail,) = answer.error["detail"]
        assert detail["loc"] == ["body", name]
        assert detail["input"] == detail["value"] == value


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", "0.5"),
        ("temperature", True),
        ("temperature", []),
        ("top_p", {}),
        ("max_tokens", 1.5),
        ("max_tokens", "10"),
        ("seed", "lucky"),
        ("stop", 5),
        ("stop", {"a": 1}),
        ("stream", "yes"),
        ("stream", 1),
        ("model", 5),
        ("model", ["Echo"]),
    ],
    ids=str,
)
def test_the_wrong_type_is_refused_with_its_place(many: Door, target: str, name: str, value: Any):
    answer = post(many, target, **{name: value})
    assert answer.status == 400
    assert answer.error["detail"][0]["loc"] == ["body", name]
    assert f"'{name}'" in answer.error["message"]


@both
@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("three", "one two "),
        (["three"], "one two "),
        (["four", "two"], "one "),
        ("e t", "on"),
        (["absent"], "one two three four"),
        ("one", ""),
    ],
    ids=str,
)
def test_stop_texts_cut_exactly(many: Door, target: str, stop: Any, expected: str):
    assert text_of(post(many, target, stop=stop)) == (expected, "stop")


@both
@pytest.mark.parametrize("stop", ["", [""], ["a", ""], ["x"] * 17], ids=lambda s: str(s)[:20])
def test_stop_texts_that_cannot_be_are_refused(many: Door, target: str, stop: Any):
    answer = post(many, target, stop=stop)
    assert answer.status == 400
    assert answer.error["detail"][0]["loc"] == ["body", "stop"]


@both
def test_max_tokens_cuts_with_length(many: Door, target: str):
    answer = post(many, target, max_tokens=3)
    assert text_of(answer) == ("one two three ", "length")
    assert answer.json["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert text_of(post(many, target, max_tokens=0)) == ("", "length")


def test_an_answer_is_bounded_when_nobody_asks(many: Door):
    """Chat by the engine (1024 words here), completions by the docs' 256 (section 6.1)."""
    for target, bound in ((CHAT, 1024), (COMPLETIONS, 256)):
        named = {
            CHAT: {"messages": [{"role": "user", "content": "w " * 1500}]},
            COMPLETIONS: {"prompt": "w " * 1500},
        }
        answer = many.post(target, named[target]).json
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == bound


@both
@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ({"logit_bias": {"1": 101}}, ["logit_bias", "1"]),
        ({"logit_bias": {"word": 1}}, ["logit_bias", "word"]),
        ({"logit_bias": {"": 1}}, ["logit_bias", ""]),
        ({"logit_bias": {"12345678901": 1}}, ["logit_bias", "12345678901"]),
        ({"logit_bias": {"9" * 5000: 1}}, ["logit_bias", "9" * 256 + "…"]),
        ({"logit_bias": {"٣": 1}}, ["logit_bias", "٣"]),
        ({"n": 2.5}, ["n"]),
        ({"n": "2"}, ["n"]),
        ({"stop_token_ids": ["a"]}, ["stop_token_ids", 0]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_passed_on_parameters_are_read_as_strictly(
    many: Door, target: str, asked: dict[str, Any], location: list[str | int]
):
    answer = many.post(target, {**BODIES[target], **asked}, PASS)
    assert answer.status == 400
    assert answer.error["detail"][0]["loc"] == ["body", *location]


@both
@pytest.mark.parametrize(
    ("name", "value"), [("n", 0), ("n", 9), ("n", -1), ("top_k", 0), ("min_p", 0.1)]
)
def test_passed_on_parameters_have_ranges_too(many: Door, target: str, name: str, value: float):
    answer = many.post(target, {**BODIES[target], name: value}, PASS)
    assert answer.status == 422
    assert answer.error["detail"][0]["loc"] == ["body", name]


def test_modalities_that_the_model_lacks_are_refused(many: Door):
    assert post(many, CHAT, modalities=["text"]).status == 200
    assert post(many, CHAT, modalities=None).status == 200
    answer = post(many, CHAT, modalities=["text", "audio"])
    assert answer.status == 422
    assert answer.error["detail"][0]["loc"] == ["body", "modalities"]
    assert answer.error["detail"][0]["input"] == "audio"
