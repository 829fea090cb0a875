"""What clients see of the screen: bodies of refusals, and annotations."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from scripted_filters import stream

from zaffre.core.answers import Answer, Choice
from zaffre.core.deltas import Batches, Finish, TextDelta, Usage
from zaffre.core.errors import ContentFiltered, InvalidRequest, ModelUnavailable, ZaffreError
from zaffre.core.safety import Screened, ScreenReport, Verdict
from zaffre.server.dialects.azure_errors import AzureErrorStyle
from zaffre.server.dialects.filter_results import annotate, filter_results, prompt_results
from zaffre.server.dialects.openai_errors import OpenAIErrorStyle, ResponsesErrorStyle
from zaffre.server.dialects.openai_stream import StreamHead, chat_frames, text_frames
from zaffre.translation.answers import write_chat_answer, write_text_answer
from zaffre.wire import codec

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


ANNOTATED = ScreenReport()
ANNOTATED.prompts = {0: Screened(Verdict({"hate": "safe"}))}
ANNOTATED.choices = {1: SCREENED}
PROMPTS = [
    {
        "prompt_index": 0,
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
    }
]
DELTAS = (TextDelta("a"), TextDelta("b", 1), Finish("stop"), Finish("content_filter", 1))


async def chunks(frames: AsyncGenerator[bytes, None]) -> list[dict[str, Any]]:
    pieces = [piece async for piece in frames]
    *events, _, _ = b"".join(pieces).split(b"\n\n")
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


async def test_a_chat_stream_begins_with_the_prompt_and_ends_choices_with_theirs():
    head = StreamHead("i", 1, "m", include_usage=False, report=ANNOTATED)

    first, *rest = await chunks(chat_frames(stream([*DELTAS, Usage(1, 2)]), head))

    assert first["prompt_filter_results"] == PROMPTS
    assert (first["choices"], first["id"], first["model"], first["created"]) == ([], "", "", 0)
    found = [choice.get("content_filter_results") for chunk in rest for choice in chunk["choices"]]
    assert found == [None] * (len(rest) - 1) + [RESULT]


async def test_nothing_is_said_before_the_model_begins():
    """Given an answer that fails at once, then no frame has gone out and its status can."""
    head = StreamHead("i", 1, "m", include_usage=False, report=ANNOTATED)

    async def broken() -> Batches:
        raise ModelUnavailable("Starting.")
        yield [TextDelta("")]

    with pytest.raises(ModelUnavailable):
        await anext(chat_frames(broken(), head))


async def test_a_text_stream_has_the_prompts_on_its_first_chunk():
    head = StreamHead("i", 1, "m", include_usage=False, report=ANNOTATED)

    first, *rest = await chunks(text_frames(stream([*DELTAS, Usage(1, 2)]), head))

    assert first["prompt_filter_results"] == PROMPTS
    assert all("prompt_filter_results" not in chunk for chunk in rest)
    assert rest[-1]["choices"][0]["content_filter_results"] == RESULT
    assert "content_filter_results" not in rest[-2]["choices"][0]


async def test_streams_of_other_dialects_say_nothing():
    head = StreamHead("i", 1, "m", include_usage=False)
    text = json.dumps(await chunks(chat_frames(stream([*DELTAS, Usage(1, 2)]), head)))
    assert "filter_results" not in text


def test_whole_answers_are_annotated_when_something_was_screened():
    answer = Answer((Choice(0, "a"), Choice(1)), Usage(1, 2))
    for response in (write_chat_answer(answer), write_text_answer(answer)):
        annotate(response, ANNOTATED)
        body = json.loads(codec.encode(response))
        assert body["prompt_filter_results"] == PROMPTS
        assert "content_filter_results" not in body["choices"][0]
        assert body["choices"][1]["content_filter_results"] == RESULT

    response = write_chat_answer(answer)
    annotate(response, ScreenReport())
    assert b"filter_results" not in codec.encode(response)
