"""Refusals through azure-ai-inference: what its exceptions say, and that none is tried again."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from azure.ai.inference.models import (
    AudioContentItem,
    ImageContentItem,
    ImageUrl,
    InputAudio,
    TextContentItem,
    UserMessage,
)
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure_checks import AnyChatClient, AnyEmbeddingsClient, closing, settled

from servers import RunningServer

HELLO = [UserMessage("Hello")]
EXTRA_BODY = {
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 2,
    "shoe_size": 42,
}
"""A whole body, for which the client adds no `extra-parameters` of its own."""


async def _refusal_of(call: Callable[..., Any], *body: Any, **asked: Any) -> HttpResponseError:
    with pytest.raises(HttpResponseError) as caught:
        await settled(call(*body, **asked))
    return caught.value


def _sent(error: HttpResponseError) -> dict[str, Any]:
    """The body of the refusal."""
    return error.response.json()


async def test_a_wrong_key_is_refused_in_the_services_words(sdk: ModuleType, server: RunningServer):
    async with closing(
        sdk.ChatCompletionsClient(server.endpoint, AzureKeyCredential("wrong"))
    ) as client:
        error = await _refusal_of(client.complete, messages=HELLO)
    assert isinstance(error, ClientAuthenticationError)
    assert error.status_code == 401
    assert "auth token validation failed" in error.message.lower()


async def test_an_extra_key_is_refused_by_default(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, EXTRA_BODY)
    assert error.status_code == 400
    assert (
        "Extra parameters ['shoe_size'] are not allowed when extra-parameters is not set or set to"
        " be 'error'. Set extra-parameters to 'pass-through' to pass to the model."
    ) in error.message


async def test_an_extra_key_is_refused_where_the_caller_insists(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, EXTRA_BODY, headers={"extra-parameters": "error"})
    assert error.status_code == 400
    assert "Extra parameters ['shoe_size']" in error.message


@pytest.mark.parametrize("word", ["drop", "ignore"])
async def test_an_extra_key_is_dropped_where_the_caller_says_so(chat: AnyChatClient, word: str):
    response = await settled(chat.complete(EXTRA_BODY, headers={"extra-parameters": word}))
    assert response.choices[0].message.content


async def test_an_extra_key_that_the_model_lacks_is_refused_by_the_model(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, messages=HELLO, model_extras={"shoe_size": 42})
    assert error.status_code == 422
    assert error.error.code == "parameter_not_supported"
    assert _sent(error)["detail"][0]["loc"] == ["body", "shoe_size"]
    assert _sent(error)["detail"][0]["input"] == 42


async def test_an_extra_key_that_the_model_has_reaches_it(chat: AnyChatClient):
    # At this temperature and without top_k, the answer is a salad of words.
    response = await settled(
        chat.complete(
            messages=[UserMessage("What is the capital of France?")],
            temperature=2,
            seed=3,
            max_tokens=16,
            model_extras={"top_k": 1},
        )
    )
    assert "capital of France is Paris" in response.choices[0].message.content


async def test_a_model_without_eyes_refuses_an_image(chat: AnyChatClient, picture: Path):
    image = ImageUrl.load(image_file=str(picture), image_format="png", detail="low")
    content = [TextContentItem(text="What is this?"), ImageContentItem(image_url=image)]
    error = await _refusal_of(chat.complete, messages=[UserMessage(content)])
    assert error.status_code == 422
    assert error.error.code == "parameter_not_supported"
    assert _sent(error)["detail"][0]["loc"][:3] == ["body", "messages", 0]


async def test_a_model_without_ears_refuses_a_sound(chat: AnyChatClient):
    sound = AudioContentItem(input_audio=InputAudio(data="UklGRg==", format="wav"))
    error = await _refusal_of(chat.complete, messages=[UserMessage([sound])])
    assert error.status_code == 422
    assert error.error.code == "parameter_not_supported"


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 9.9), ("top_p", 1.5), ("presence_penalty", 3), ("max_tokens", -3)],
)
async def test_a_value_out_of_range_is_refused(chat: AnyChatClient, name: str, value: float):
    error = await _refusal_of(chat.complete, messages=HELLO, **{name: value})
    assert error.status_code in {400, 422}
    assert name in error.message
    assert error.error.code


async def test_an_unknown_model_is_refused(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, messages=HELLO, model="gpt-9")
    assert error.status_code == 400
    assert error.error.code == "unknown_model"
    assert error.response.headers["x-ms-error-code"] == "unknown_model"
    assert "gpt-9" in error.message


async def test_a_refused_stream_is_an_exception(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, messages=HELLO, model="gpt-9", stream=True)
    assert error.error.code == "unknown_model"


async def test_a_model_that_lacks_the_modality_is_not_found(embeddings: AnyEmbeddingsClient):
    error = await _refusal_of(embeddings.embed, input=["a"], model="smollm2-135m-instruct")
    assert isinstance(error, ResourceNotFoundError)
    assert "not found" in error.message.lower()


async def test_a_prompt_longer_than_the_context_is_refused(chat: AnyChatClient):
    error = await _refusal_of(chat.complete, messages=[UserMessage("word " * 9000)])
    assert error.status_code == 400
    assert error.error.code == "context_length_exceeded"


async def test_a_refusal_is_not_tried_again(chat: AnyChatClient):
    sent = []
    await _refusal_of(chat.complete, messages=HELLO, model="gpt-9", raw_request_hook=sent.append)
    assert len(sent) == 1
