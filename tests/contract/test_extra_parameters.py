"""Root keys outside the schema: refused, dropped or passed on (checklist rows 21 to 23)."""

import ast
import json
import re
from typing import Any

import pytest
from raw_http import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, Answer, Door

IMAGE = {"image": "data:image/png;base64,aGk="}
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "one two"}]},
    COMPLETIONS: {"prompt": "one two"},
    EMBEDDINGS: {"input": ["one two"]},
    IMAGES: {"input": [IMAGE]},
}
SENTENCE = (
    "Extra parameters {names} are not allowed when extra-parameters is not set or set to be"
    " 'error'. Set extra-parameters to 'pass-through' to pass to the model."
)


def post(door: Door, target: str, mode: str | None, **extra: Any) -> Answer:
    headers = {} if mode is None else {"extra-parameters": mode}
    return door.post(target, {**BODIES[target], **extra}, headers)


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize("mode", [None, "", "error", "ERROR", " error "])
def test_by_default_they_are_refused_in_the_services_words(
    many: Door, target: str, mode: str | None
):
    answer = post(many, target, mode, logprob_style="x", foo=[1], **{"stream-options": 1})
    assert answer.status == 400
    expected = SENTENCE.format(names=["logprob_style", "foo", "stream-options"])
    assert answer.error["message"] == expected
    assert answer.error["detail"] == expected


def test_the_names_are_the_first_bracket_in_the_body(many: Door):
    """LiteLLM reads them from there, drops them and tries again (contract, section 17 row 2)."""
    body = post(many, CHAT, None, user="u", n=2).body.decode()
    found = re.search(r"\[(.*?)\]", body)
    assert found
    assert ast.literal_eval(found[0]) == ["user", "n"]
    assert body.startswith('{"error":{"code":"extra_parameters_not_allowed","message":"Extra')


@pytest.mark.parametrize(
    "name",
    [
        "n",
        "best_of",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "user",
        "stream_options",
        "max_completion_tokens",
        "parallel_tool_calls",
        "top_k",
        "reasoning_effort",
        "functions",
        "function_call",
        "safe_prompt",
        "metadata",
        "store",
        "",
        "Messages",
    ],
)
def test_what_openai_knows_is_still_outside_this_schema(many: Door, name: str):
    assert post(many, CHAT, None, **{name: 1}).status == 400
    assert post(many, CHAT, "drop", **{name: 1}).status == 200


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize("mode", ["drop", "ignore", "Drop"])
def test_dropped_ones_leave_no_trace(many: Door, target: str, mode: str):
    plain = post(many, target, None).json
    dropped = post(many, target, mode, foo={"a": [1]}, n="many", user=5).json
    for volatile in ("id", "created"):
        plain.pop(volatile, None)
        dropped.pop(volatile, None)
    assert dropped == plain


@pytest.mark.parametrize("mode", ["pass-through", "allow", "PASS-THROUGH"])
def test_passed_on_ones_have_an_effect_where_the_model_knows_them(many: Door, mode: str):
    answer = post(many, CHAT, mode, n=2, max_completion_tokens=1).json
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["one ", "one "]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize(
    ("name", "value"),
    [("foo", "bar"), ("truncate", "END"), ("ignore_eos_", True), ("safe_prompt", {"a": None})],
)
def test_passed_on_ones_are_refused_where_it_does_not(
    many: Door, target: str, name: str, value: Any
):
    answer = post(many, target, "pass-through", **{name: value})
    assert answer.status == 422
    assert answer.error["code"] == "parameter_not_supported"
    (detail,) = answer.error["detail"]
    assert detail["loc"] == ["body", name]
    assert detail["input"] == detail["value"]
    assert detail["msg"]


def test_a_model_says_which_of_the_known_ones_it_lacks(many: Door):
    answer = post(many, CHAT, "allow", logit_bias={"5": 1})
    assert answer.status == 422
    assert answer.error["detail"][0]["loc"] == ["body", "logit_bias"]


def test_notes_of_the_caller_ask_nothing_of_the_model(many: Door):
    notes = {"user": "u", "metadata": {"a": "b"}, "stream_options": {"include_usage": True}}
    assert post(many, CHAT, "pass-through", **notes).status == 200


@pytest.mark.parametrize("mode", ["passthrough", "pass_through", "true", "error,drop", "\xe9"])
def test_another_mode_is_refused(many: Door, mode: str):
    answer = post(many, CHAT, mode, foo=1)
    assert answer.status == 400
    assert answer.error["detail"][0]["loc"] == ["header", "extra-parameters"]


@pytest.mark.parametrize("target", BODIES)
@pytest.mark.parametrize("mode", [None, "error", "drop", "pass-through"])
def test_null_means_absent(many: Door, target: str, mode: str | None):
    nulls = {"foo": None, "n": None, "user": None, "logprobs": None, "model": None, "seed": None}
    known = nulls if target in (CHAT, COMPLETIONS) else {**nulls, "dimensions": None}
    if target in (EMBEDDINGS, IMAGES):
        del known["seed"]
    body = json.dumps({**BODIES[target], **known}, indent=1).encode()
    headers = {} if mode is None else {"extra-parameters": mode}
    assert many.post(target, body, headers).status == 200


def test_defender_metadata_is_taken_and_ignored(many: Door):
    assert post(many, CHAT, None, user_security_context={"application_name": "a"}).status == 200


def test_headers_that_are_spelt_wrong_do_nothing(many: Door):
    for name in ("extra-params", "unknown-parameters"):
        assert many.chat(headers={name: "pass-through"}, n=2).status == 400


def test_a_thousand_long_names_do_not_make_a_longer_answer(many: Door):
    extra = {f"{number}-{'x' * 1000}": 1 for number in range(1000)}
    answer = post(many, CHAT, None, **extra)
    assert answer.status == 400
    assert len(answer.body) < 20_000
