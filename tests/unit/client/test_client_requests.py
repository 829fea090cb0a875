"""What goes out: addresses, headers and bodies, and the arguments that are refused at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import ANSWER, QUESTION, Script, answered

from zaffre.client import AsyncClient, InvalidAnswer, data_url
from zaffre.client.images import MAX_IMAGE_BYTES
from zaffre.wire.chat import ContentPart, FunctionBody, MessageBody, ToolBody

PNG = b"\x89PNG\r\n\x1a\n" + bytes(4)
VECTORS = {"model": "m", "data": [{"index": 0, "embedding": "AACAPw=="}]}


async def sent(call: str, *arguments: Any, answer: Any = ANSWER, **options: Any) -> Any:
    """The request that a call of the client makes."""
    script = Script(answered(body=answer))
    async with AsyncClient("http://server/base", "k", transport=script) as client:
        await getattr(client, call)(*arguments, **options)
    (request,) = script.requests
    return request


async def body_of(call: str, *arguments: Any, answer: Any = ANSWER, **options: Any) -> Any:
    return json.loads((await sent(call, *arguments, answer=answer, **options)).content)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://server", "http://server/info?api-version=V"),
        ("http://server/", "http://server/info?api-version=V"),
        ("https://server:1/a/b/", "https://server:1/a/b/info?api-version=V"),
        ("http://server/?api-version=W", "http://server/info?api-version=W"),
        ("http://server/a?x=y", "http://server/a/info?x=y&api-version=V"),
        ("http://[::1]:80/a#b", "http://[::1]/a/info?api-version=V"),
    ],
)
async def test_an_endpoint_may_have_a_path_and_a_query(endpoint: str, url: str):
    """Given the address that an owner hands out, when it is used, then all of it is kept."""
    info = {"model_name": "m", "model_type": "embeddings", "model_provider_name": "p"}
    script = Script(answered(body=info))
    client = AsyncClient(endpoint, "k", api_version="V", transport=script)
    assert (await client.info()).model_name == "m"
    assert str(script.requests[0].url) == url


@pytest.mark.parametrize(
    ("base", "path"), [("", "/models"), ("/models", "/models"), ("/v1/", "/v1/models")]
)
async def test_the_list_of_models_is_where_the_endpoint_says(base: str, path: str):
    """Given an endpoint that is called models, when models are listed, then it is not doubled."""
    script = Script(answered(body={"data": [{"id": "m"}, {"id": "n", "created": 5}]}))
    client = AsyncClient(f"http://server{base}", "k", transport=script)
    assert [entry.id for entry in await client.models()] == ["m", "n"]
    assert script.requests[0].url.path == path


async def test_the_key_goes_both_ways():
    """Given a key, when a request is made, then every server of the dialect finds it."""
    request = await sent("chat", QUESTION)
    assert request.headers["api-key"] == "k"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["content-type"] == "application/json"
    assert "extra-parameters" not in request.headers


@pytest.mark.parametrize("key", ["K1\n", " K1", "K1\0", "Ké1", "K1\r\nx-evil: 1"])
def test_an_impossible_key_is_refused_and_not_shown(key: str):
    """Given a key with a line end, when a client is made, then nobody gets to see the key."""
    with pytest.raises(ValueError, match="key") as caught:
        AsyncClient("http://server", key)
    assert key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["server:8080", "ftp://server", "http://", "", "http://u:p@server", "http://a b\n"]
)
def test_an_impossible_endpoint_is_refused(endpoint: str):
    """Given what is no address, when a client is made, then it says so."""
    with pytest.raises(ValueError, match="endpoint"):
        AsyncClient(endpoint, "k")


async def test_only_what_is_asked_for_is_sent():
    """Given a bare question, when it is sent, then the server decides about all else."""
    said = {"messages": [{"role": "user", "content": "Hi"}]}
    assert await body_of("chat", "Hi") == said
    assert await body_of("chat", QUESTION, temperature=None, stop=None, extra={}) == said


async def test_structs_and_dictionaries_are_the_same():
    """Given messages and tools in either form, when they are sent, then there are no nulls."""
    part = ContentPart("image_url", image_url=data_url(PNG))
    message = MessageBody("user", [ContentPart("text", text="What is it?"), part])
    tool = ToolBody(function=FunctionBody("look", parameters={"type": "object"}))
    structs = await body_of("chat", [message], tools=[tool], tool_choice="auto")
    plain = await body_of(
        "chat",
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": data_url(PNG)},
                ],
            }
        ],
        tools=[
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        ],
        tool_choice="auto",
    )
    assert structs == plain


async def test_an_answer_can_be_said_again():
    """Given the model's own message, when it goes into the next turn, then as it came."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    script = Script(
        answered(body={"choices": [{"index": 0, "message": said}]}), answered(body=ANSWER)
    )
    client = AsyncClient("http://server", "k", transport=script)
    answer = await client.chat("Hi")
    await client.chat([answer.choices[0].message])
    assert json.loads(script.requests[1].content)["messages"] == [said]


async def test_keys_of_the_model_pass_through():
    """Given extra keys, when they are sent, then at the root, and with the header for it."""
    request = await sent("complete", ["a", "b"], max_tokens=3, extra={"n": 2, "top_k": 5})
    assert json.loads(request.content) == {
        "prompt": ["a", "b"],
        "max_tokens": 3,
        "n": 2,
        "top_k": 5,
    }
    assert request.headers["extra-parameters"] == "pass-through"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"temprature": 1}, TypeError),
        ({"n": 2}, TypeError),
        ({"stream": True}, TypeError),
        ({"seed": 1, "extra": {"seed": 2}}, ValueError),
        ({"extra": {"messages": []}}, ValueError),
        ({"extra": {"x": object()}}, TypeError),
    ],
)
async def test_impossible_options_are_refused_at_once(options: Any, kind: type[Exception]):
    """Given an option that the API lacks, when it is used, then no server needs to say so."""
    client = AsyncClient("http://server", "k", transport=Script())
    with pytest.raises(kind):
        await client.chat("Hi", **options)
    with pytest.raises(kind):
        client.stream_chat("Hi", **options)


async def test_vectors_are_asked_for_in_the_exact_form():
    """Given texts, when they are embedded, then floats do not travel as decimals."""
    body = await body_of(
        "embed", ["a"], model="m", dimensions=1, input_type="query", answer=VECTORS
    )
    assert body == {
        "input": ["a"],
        "model": "m",
        "dimensions": 1,
        "encoding_format": "base64",
        "input_type": "query",
    }


async def test_images_come_as_bytes_or_files(tmp_path: Path):
    """Given one image in three forms, when they are embedded, then they are the same."""
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    data = [{"index": index, "embedding": [1.0]} for index in range(3)]
    body = await body_of(
        "embed_images", [PNG, path, str(path)], captions=[None, "a", None], answer={"data": data}
    )
    image = "data:image/png;base64,iVBORw0KGgoAAAAA"
    assert body["input"] == [{"image": image}, {"image": image, "text": "a"}, {"image": image}]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"BM....", "image/bmp"),
        (b"RIFF\0\0\0\0WAVE", "image/*"),
        (b"x", "image/*"),
    ],
)
def test_the_media_type_is_read_from_the_image(content: bytes, kind: str):
    """Given an image, when it becomes a data URL, then its first bytes say what it is."""
    assert data_url(content).startswith(f"data:{kind};base64,")


async def test_impossible_inputs_are_refused_at_once(tmp_path: Path):
    """Given inputs that no server takes, when they are used, then nothing is sent."""
    client = AsyncClient("http://server", "k", transport=Script())
    with pytest.raises(TypeError, match="list"):
        await client.embed("text")
    with pytest.raises(TypeError, match="list"):
        await client.embed_images("cat.png")
    with pytest.raises(ValueError, match="2 images have 1 captions"):
        await client.embed_images([PNG, PNG], captions=["a"])
    with pytest.raises(ValueError, match="empty"):
        await client.embed_images([b""])
    with pytest.raises(FileNotFoundError):
        await client.embed_images([tmp_path / "nothing.png"])
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)
    with pytest.raises(ValueError, match="larger"):
        await client.embed_images([large])


@pytest.mark.parametrize("call", ["chat", "complete"])
async def test_an_answer_without_choices_is_none(call: str):
    """Given a 200 that is an error in disguise, when it is read, then it is refused."""
    with pytest.raises(InvalidAnswer):
        await sent(call, "Hi", answer={"error": {"message": "no"}})
