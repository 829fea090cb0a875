"""What clients see of the screen: bodies of refusals, and annotations."""

import json

import pytest

from zaffre.core.errors import ContentFiltered, InvalidRequest, ZaffreError
from zaffre.core.safety import Screened, ScreenReport, Verdict
from zaffre.server.dialects.azure_errors import AzureErrorStyle
from zaffre.server.dialects.filter_results import filter_results, prompt_results
from zaffre.server.dialects.openai_errors import OpenAIErrorStyle, ResponsesErrorStyle

SCREENED = Screened(
    Verdict(
        {"hate": "high", "violence": "low"},
        {"jailbreak": True, "profanity": False},
        {"house": True, "other": False},
    ),
    frozenset({"hate", "jailbreak", "blocklist:house"}),
)
RESULT = {
    "hate": {"filtered": True, "severity": "high"},
    "violence": {"filtered": False, "severity": "low"},
    "jailbreak": {"filtered": True, "detected": True},
    "profanity": {"filtered": False, "detected": False},
    "custom_blocklists": {"filtered": True, "details": [{"filtered": True, "id": "house"}]},
}


@pytest.mark.parametrize(
    "style",
    [
        AzureErrorStyle(),
        OpenAIErrorStyle(azure=True),
        OpenAIErrorStyle(azure=False),
        ResponsesErrorStyle(azure=False),
    ],
)
def test_a_refused_prompt_says_what_was_found(style: AzureErrorStyle):
    status, _, body = style.render(ContentFiltered(SCREENED))

    error = json.loads(body)["error"]
    assert status == 400
    assert (error["code"], error["param"], error["type"]) == ("content_filter", "prompt", None)
    assert error["innererror"] == {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": RESULT,
    }


def test_azure_has_the_flat_fields_and_the_header_too():
    _, headers, body = AzureErrorStyle().render(ContentFiltered(SCREENED))

    flat = json.loads(body)
    assert (flat["status"], flat["code"]) == (400, "content_filter")
    assert flat["error"]["status"] == 400
    assert (b"x-ms-error-code", b"content_filter") in headers


def test_a_refusal_from_elsewhere_has_nothing_found():
    elsewhere = ContentFiltered.restore(ZaffreError("No."))
    _, _, body = AzureErrorStyle().render(elsewhere)
    assert json.loads(body)["error"]["innererror"]["content_filter_result"] == {}


def test_other_refusals_have_no_inner_error():
    _, _, body = AzureErrorStyle().render(InvalidRequest("No."))
    assert "innererror" not in json.loads(body)["error"]


def test_a_failed_filter_is_an_error_beside_what_was_found():
    results = filter_results(Screened(Verdict({"hate": "safe"}), failed=True))

    assert results["hate"] == {"filtered": False, "severity": "safe"}
    assert results["error"] == {
        "code": "content_filter_error",
        "message": "The contents are not filtered",
    }


def test_prompts_are_listed_by_position():
    report = ScreenReport()
    report.prompts = {1: Screened(), 0: SCREENED}

    assert prompt_results(report) == [
        {"prompt_index": 0, "content_filter_results": RESULT},
        {"prompt_index": 1, "content_filter_results": {}},
    ]
    assert prompt_results(ScreenReport()) == []
