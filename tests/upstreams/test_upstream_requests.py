"""What foreign servers are asked: paths, headers and bodies of each dialect."""

import base64
import logging
from typing import Any

import pytest
from fault_server import GOOD_ANSWER, GOOD_STREAM, FaultServer, refusal, stream, whole
from pool_calls import HELLO, SECRET, Open, asking, chat, complete

from zaffre.core.calls import CompletionCall, EmbedCall, ImageEmbedCall, ImageInput, Sampling
from zaffre.core.deltas import Finish, TextDelta, Usage
from zaffre.core.errors import ZaffreError

PNG = b"\x89PNG\r\n\x1a\n rest"
VECTORS = whole({"data": [{"embedding": "AACAPw=="}], "usage": {"total_tokens": 3}})
TEXT = {"choices": [{"index": 0, "text": "ok", "finish_reason": "length"}]}


@pytest.mark.parametrize(
    ("fields", "path", "model"),
    [
        ({}, "/v1/chat/completions", "their-name"),
        ({"model": None}, "/v1/chat/completions", "our-name"),
        (
            {"dialect": "azure-inference"},
            "/v1/chat/completions?api-version=2025-04-01",
            "their-name",
        ),
        (
            {"dialect": "azure-inference", "api_version": "2024-05-01-preview"},
            "/v1/chat/completions?api-version=2024-05-01-preview",
            "their-name",
        ),
        (
            {"dialect": "azure-openai"},
            "/v1/openai/deployments/their-name/chat/completions?api-version=2024-10-21",
            None,
        ),
        (
            {"dialect": "azure-openai", "model": "a b/c", "api_version": "2025-01-01-preview"},
            "/v1/openai/deployments/a%20b%2Fc/chat/completions?api-version=2025-01-01-preview",
            None,
        ),
    ],
    ids=str,
)
async def test_paths_and_models(
    fault: FaultServer, connect: Open, fields: dict[str, Any], path: str, model: str | None
):
    fault.will(GOOD_ANSWER)
    await chat(connect(**fields), stream=False)
    (asked,) = fault.asked
    assert (asked.method, asked.path) == ("POST", path)
    assert asked.json.get("model") == model
    assert asked.json["messages"] == [{"role": "user", "content": "Hello there"}]


@pytest.mark.parametrize(
    ("dialect", "given", "expected"),
    [
        ("openai", "/v1/?tenant=7", "/v1/chat/completions?tenant=7"),
        ("azure-inference", "?api-version=v1", "/chat/completions?api-version=v1"),
        (
            "azure-openai",
            "/openai/deployments/gpt-4o/",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        ),
    ],
)
async def test_what_stands_in_the_base_url_is_kept(
    fault: FaultServer, connect: Open, dialect: str, given: str, expected: str
):
    fault.will(GOOD_ANSWER)
    client = connect(url=fault.url + given, dialect=dialect)
    await chat(client, stream=False)
    assert fault.asked[0].path == expected
    assert "?" not in client.place


@pytest.mark.parametrize(
    ("dialect", "shown"),
    [
        ("openai", {"authorization": f"Bearer {SECRET}"}),
        ("azure-openai", {"api-key": SECRET}),
        ("azure-inference", {"authorization": f"Bearer {SECRET}", "api-key": SECRET}),
    ],
)
async def test_credentials_are_shown_as_each_dialect_wants_them(
    fault: FaultServer, connect: Open, dialect: str, shown: dict[str, str]
):
    fault.will(GOOD_ANSWER)
    await chat(connect(dialect=dialect), stream=False)
    await chat(connect(None, dialect=dialect), stream=False)
    found = [
        {
            name: asked.headers[name]
            for name in ("authorization", "api-key")
            if name in asked.headers
        }
        for asked in fault.asked
    ]
    assert found == [shown, {}]


async def test_credentials_are_not_logged_nor_printed(
    fault: FaultServer, connect: Open, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    for status in (400, 401, 403, 404, 429, 500, 503):
        fault.will(refusal(status, f"Wrong key: {SECRET}", code=SECRET, param=SECRET))
        client = connect()
        with pytest.raises(ZaffreError) as raised:
            await chat(client)
        assert SECRET not in f"{raised.value} {vars(raised.value)} {vars(client)}"
    assert SECRET not in caplog.text


async def test_cookies_and_redirects_lead_nowhere(fault: FaultServer, connect: Open):
    fault.will(
        whole({"choices": []}, Set_Cookie="session=1"),
        whole(b"", 307, Location=f"{fault.url}/elsewhere"),
    )
    client = connect()
    for _ in range(2):
        with pytest.raises(ZaffreError):
            await chat(client)
    assert [asked.headers.get("cookie") for asked in fault.asked] == [None, None]


async def test_only_azure_inference_is_told_of_extra_parameters(fault: FaultServer, connect: Open):
    plain = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 5, "stop": ("x",), "seed": 7}
    for dialect, sampling, expected in (
        ("azure-inference", plain, None),
        ("azure-inference", {"n": 1, "top_k": 5}, "pass-through"),
        ("azure-inference", {"logprobs": 2}, "pass-through"),
        ("openai", {"logprobs": 2}, None),
    ):
        fault.will(GOOD_STREAM)
        await chat(connect(dialect=dialect), asking("hi", **sampling))
        assert fault.asked[-1].headers.get("extra-parameters") == expected
        asked = fault.asked[-1].json
        for name in ("temperature", "seed", "top_k"):
            assert asked.get(name) == sampling.get(name)


async def test_usage_is_asked_for_where_it_has_to_be(fault: FaultServer, connect: Open):
    for dialect, expected in (
        ("openai", {"include_usage": True}),
        ("azure-openai", {"include_usage": True}),
        ("azure-inference", None),
    ):
        fault.will(GOOD_STREAM, GOOD_ANSWER)
        client = connect(dialect=dialect)
        await chat(client)
        await chat(client, stream=False)
        streamed, at_once = fault.asked[-2:]
        assert streamed.json.get("stream_options") == expected
        assert "stream_options" not in at_once.json


async def test_completions(fault: FaultServer, connect: Open):
    fault.will(whole({**TEXT, "usage": {"prompt_tokens": 2, "completion_tokens": 1}}), stream(TEXT))
    call = CompletionCall(("Hello",), Sampling(max_tokens=1), suffix="!")
    client = connect()
    expected = [TextDelta("ok"), Finish("length"), Usage(2, 1)]
    assert await complete(client, call, stream=False) == expected
    assert (await complete(client, call))[-1] == Usage(2, 1, estimated=True)
    asked = fault.asked[0]
    assert asked.path == "/v1/completions"
    assert asked.json == {
        "prompt": "Hello",
        "model": "their-name",
        "max_tokens": 1,
        "stream": False,
        "suffix": "!",
    }


async def test_several_prompts_have_all_their_answers_or_none(fault: FaultServer, connect: Open):
    both = [{"index": i, "text": "ok", "finish_reason": "stop"} for i in (1, 0)]
    fault.will(whole({"choices": both}), whole({"choices": both[:1]}))
    client, call = connect(), CompletionCall(("a", "b"))
    deltas = await complete(client, call, stream=False)
    assert {delta.index for delta in deltas if isinstance(delta, Finish)} == {0, 1}
    with pytest.raises(ZaffreError):
        await complete(client, call, stream=False)


async def test_vectors(fault: FaultServer, connect: Open):
    fault.will(VECTORS)
    found = await connect().embed(EmbedCall(("a",), dimensions=1))
    assert found.vectors == (b"\x00\x00\x80?",)
    assert found.usage == Usage(3)
    assert fault.asked[0].path == "/v1/embeddings"
    assert fault.asked[0].json == {
        "input": ["a"],
        "model": "their-name",
        "dimensions": 1,
        "encoding_format": "base64",
    }


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": [{"embedding": "AACAPw=="}]},
        {"data": [{"embedding": "AACAPw==", "index": 1}, {"embedding": "AACAPw==", "index": 1}]},
        {"data": [{"embedding": "AACAPw=="}, {"embedding": "AACAPwAAgD8="}]},
        {"data": [{"embedding": "AACAPw=="}, {"embedding": "?"}]},
        {"data": [{"embedding": None}, {"embedding": "AACAPw=="}]},
        {"error": {"message": "no"}},
    ],
    ids=str,
)
async def test_vectors_that_do_not_fit_the_inputs_are_a_failure(
    fault: FaultServer, connect: Open, body: Any
):
    fault.will(whole(body))
    with pytest.raises(ZaffreError):
        await connect().embed(EmbedCall(("a", "b")))


async def test_images_say_what_they_are(fault: FaultServer, connect: Open):
    fault.will(VECTORS)
    client = connect(dialect="azure-inference", url=fault.url)
    await client.embed_images(ImageEmbedCall((ImageInput(PNG, "a cat"),)))
    (asked,) = fault.asked
    assert asked.path.startswith("/images/embeddings?")
    encoded = base64.b64encode(PNG).decode()
    assert asked.json["input"] == [{"image": f"data:image/png;base64,{encoded}", "text": "a cat"}]


async def test_a_stream_in_one_piece_is_taken(fault: FaultServer, connect: Open):
    """Some servers answer as if no stream had been asked for."""
    fault.will(GOOD_ANSWER)
    assert await chat(connect(), HELLO) == [TextDelta("Hi"), Finish("stop"), Usage(5, 2)]
