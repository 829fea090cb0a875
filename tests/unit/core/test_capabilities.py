"""Capabilities: every call against every record, and where a refusal points."""

from typing import Any

import pytest
from msgspec import structs

from zaffre.core import calls, errors
from zaffre.core.capabilities import ANY, GENERATION_PARAMETERS, Capabilities, Range, check
from zaffre.wire import codec

ABLE = Capabilities(
    model="m",
    engine="e",
    operations=frozenset(calls.OPERATIONS),
    parameters={
        **GENERATION_PARAMETERS,
        "n": Range(1, 4),
        "top_k": Range(0),
        "min_p": Range(0, 1),
        "repetition_penalty": Range(0, 10),
        "logprobs": Range(0, 20),
        "logit_bias": ANY,
        "stop_token_ids": ANY,
        "ignore_eos": ANY,
        "echo": ANY,
        "suffix": ANY,
        "best_of": Range(1, 4),
        "parallel_tool_calls": ANY,
        "reasoning_effort": ANY,
    },
    content_parts=frozenset({"text", "image", "audio"}),
    formats=frozenset({"text", "json_object", "json_schema"}),
    tool_choices=frozenset({"auto", "required", "named"}),
    modalities=frozenset({"text", "audio"}),
    token_prompts=True,
    dimensions=8,
    reducible_dimensions=True,
    image_captions=True,
    max_inputs=3,
)
PLAIN = Capabilities(model="m", engine="e", operations=frozenset(calls.OPERATIONS), dimensions=8)
TEXT = calls.TextPart("hi")
IMAGE, AUDIO = calls.ImagePart(b"x", "image/png"), calls.AudioPart(b"x", "wav")
FAR = calls.MediaReference("image", "https://example.org/a.png")
TOOL = calls.Tool("f", {})
SCHEMA = calls.JsonSchema("s", {})
PICTURE = calls.ImageInput(b"x", "caption")


def chat(*parts: calls.Part, **changed: Any) -> calls.ChatCall:
    said = calls.UserMessage(parts or (TEXT,))
    return calls.ChatCall((calls.SystemMessage("be brief"), said), **changed)


def sampled(**sampling: Any) -> calls.ChatCall:
    return chat(sampling=calls.Sampling(**sampling))


def completion(**changed: Any) -> calls.CompletionCall:
    return calls.CompletionCall(("a",), **changed)


CASES: list[tuple[calls.Call, errors.Location]] = [
    (sampled(temperature=0.5), ("temperature",)),
    (sampled(top_p=0.5), ("top_p",)),
    (sampled(frequency_penalty=0.5), ("frequency_penalty",)),
    (sampled(presence_penalty=0.5), ("presence_penalty",)),
    (sampled(max_tokens=0), ("max_tokens",)),
    (sampled(stop=("x",)), ("stop",)),
    (sampled(seed=0), ("seed",)),
    (sampled(n=2), ("n",)),
    (sampled(logprobs=0), ("logprobs",)),
    (sampled(logit_bias={1: 1}), ("logit_bias",)),
    (sampled(top_k=0), ("top_k",)),
    (sampled(min_p=0.0), ("min_p",)),
    (sampled(repetition_penalty=1.1), ("repetition_penalty",)),
    (sampled(stop_token_ids=(1,)), ("stop_token_ids",)),
    (sampled(ignore_eos=True), ("ignore_eos",)),
    (chat(TEXT, IMAGE), ("messages", 1, "content", 1)),
    (chat(AUDIO), ("messages", 1, "content", 0)),
    (chat(TEXT, TEXT, FAR), ("messages", 1, "content", 2)),
    (chat(format="json_object"), ("response_format",)),
    (chat(format=SCHEMA), ("response_format",)),
    (chat(tools=(TOOL,)), ("tools",)),
    (chat(tools=(TOOL,), tool_choice="required"), ("tools",)),
    (chat(tools=(TOOL,), tool_choice=calls.NamedTool("f")), ("tools",)),
    (chat(modalities=("text", "audio")), ("modalities",)),
    (chat(parallel_tool_calls=False), ("parallel_tool_calls",)),
    (chat(reasoning_effort="low"), ("reasoning_effort",)),
    (completion(echo=True), ("echo",)),
    (completion(suffix=""), ("suffix",)),
    (completion(best_of=1), ("best_of",)),
    (calls.CompletionCall(("a", (1, 2))), ("prompt",)),
    (calls.EmbedCall(("a",), dimensions=4), ("dimensions",)),
    (calls.ImageEmbedCall((PICTURE,)), ("input", 0, "text")),
]


@pytest.mark.parametrize(("call", "location"), CASES, ids=lambda value: str(value)[:90])
def test_what_one_model_does_another_refuses_with_its_place(
    call: calls.Call, location: errors.Location
):
    check(call, ABLE)
    with pytest.raises(errors.UnsupportedParameter) as refused:
        check(call, PLAIN)
    assert refused.value.location == location
    assert refused.value.message.startswith("m ") or "m" in refused.value.message


@pytest.mark.parametrize(
    "call",
    [
        chat(),
        chat(tools=(TOOL,), tool_choice="none"),
        completion(),
        calls.EmbedCall(("a",)),
        calls.EmbedCall(("a",), dimensions=8),
        calls.EmbedCall(("a",), input_type="query"),
        calls.ImageEmbedCall((calls.ImageInput(b"x"),)),
    ],
    ids=lambda call: str(call)[:90],
)
def test_what_asks_for_nothing_special_is_taken_by_all(call: calls.Call):
    check(call, ABLE)
    check(call, PLAIN)


@pytest.mark.parametrize(
    ("call", "location"),
    [
        (sampled(temperature=2.01), ("temperature",)),
        (sampled(temperature=-1), ("temperature",)),
        (sampled(seed=2**63), ("seed",)),
        (sampled(max_tokens=2**31), ("max_tokens",)),
        (sampled(n=5), ("n",)),
        (sampled(n=0), ("n",)),
        (sampled(top_k=-1), ("top_k",)),
        (completion(best_of=5), ("best_of",)),
        (completion(best_of=2, sampling=calls.Sampling(n=3)), ("best_of",)),
        (calls.EmbedCall(("a",), dimensions=0), ("dimensions",)),
        (calls.EmbedCall(("a",), dimensions=9), ("dimensions",)),
        (calls.EmbedCall(("a",) * 4), ("input",)),
        (calls.ImageEmbedCall((PICTURE,) * 4), ("input",)),
    ],
    ids=lambda value: str(value)[:90],
)
def test_numbers_beyond_the_bounds_are_out_of_range(call: calls.Call, location: errors.Location):
    with pytest.raises(errors.OutOfRange) as refused:
        check(call, ABLE)
    assert refused.value.location == location


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (chat(), "chat"),
        (completion(), "complete"),
        (calls.EmbedCall(("a",)), "embed"),
        (calls.ImageEmbedCall((PICTURE,)), "embed_images"),
    ],
)
def test_a_lacking_operation_is_not_found(call: calls.Call, operation: Any):
    check(call, ABLE)
    others = frozenset(calls.OPERATIONS) - {operation}
    with pytest.raises(errors.OperationNotSupported, match="not found"):
        check(call, structs.replace(ABLE, operations=others))


def test_a_choice_of_tools_that_is_lacking_is_told_apart_from_lacking_tools():
    only_auto = structs.replace(ABLE, tool_choices=frozenset({"auto"}))
    check(chat(tools=(TOOL,)), only_auto)
    with pytest.raises(errors.UnsupportedParameter) as refused:
        check(chat(tools=(TOOL,), tool_choice="required"), only_auto)
    assert refused.value.location == ("tool_choice",)


@pytest.mark.parametrize(
    "call",
    [
        chat(extra={"foo": 1}),
        completion(extra={"foo": 1}),
        calls.EmbedCall(("a",), extra={"foo": 1}),
    ],
)
def test_what_no_one_knows_is_refused(call: calls.Call):
    with pytest.raises(errors.UnsupportedParameter) as refused:
        check(call, ABLE)
    assert (refused.value.location, refused.value.value) == (("foo",), 1)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (ANY, [-1e300, 0, 10**400], []),
        (Range(0), [0, 1, 10**400], [-1, -0.001]),
        (Range(maximum=1), [1, -(10**400)], [1.001, 2]),
        (Range(-2, 2), [-2, 0, 2.0], [-2.5, 3]),
        (Range(0, 2**63 - 1), [2**63 - 1], [2**63]),
    ],
    ids=str,
)
def test_ranges_are_inclusive_and_exact(bounds: Range, inside: list[float], outside: list[float]):
    again = codec.decode(codec.encode(bounds), Range)  # as it comes from a worker
    for value in inside:
        assert value in bounds
        assert value in again
    for value in outside:
        assert value not in bounds
        assert value not in again


def test_a_refusal_names_the_bounds_in_full():
    with pytest.raises(errors.OutOfRange, match="between -9223372036854775808 and"):
        check(sampled(seed=2**63), ABLE)
    with pytest.raises(errors.OutOfRange, match="at least 0"):
        check(sampled(top_k=-1), ABLE)


def test_a_record_survives_the_way_from_the_worker():
    assert codec.decode(codec.encode(ABLE), Capabilities) == ABLE
