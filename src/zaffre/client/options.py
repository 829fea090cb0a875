"""What a program may ask for, and the request bodies that say so."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from msgspec import Struct

from zaffre.wire import codec
from zaffre.wire.chat import AnswerMessage, MessageBody, NamedToolBody, ResponseFormat, ToolBody
from zaffre.wire.embeddings import ImageItem

Message = MessageBody | AnswerMessage | Mapping[str, Any]
"""A message: `{"role": "user", "content": "Hi"}`, its struct, or one that the model has said."""
InputType = Literal["text", "query", "document"]
"""What a text is embedded for; models that treat all alike ignore it."""
Extra = Mapping[str, object]
"""Keys outside the API, for the model itself; sent with `extra-parameters: pass-through`."""


class SamplingOptions(TypedDict, total=False):
    """How tokens are chosen, and when to stop. None leaves the choice to the server."""

    temperature: float | None
    top_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    extra: Extra | None


class ChatOptions(SamplingOptions, total=False):
    """What a chat may have besides: the form of the answer, and functions to call."""

    response_format: str | ResponseFormat | Mapping[str, Any] | None
    tools: Sequence[ToolBody | Mapping[str, Any]] | None
    tool_choice: str | NamedToolBody | Mapping[str, Any] | None
    modalities: Sequence[str] | None


class Body(Struct, frozen=True):
    """The body of a request, with the headers that belong to it."""

    content: bytes
    headers: dict[str, str]


def chat_body(
    messages: str | Sequence[Message], model: str | None, options: ChatOptions, *, stream: bool
) -> Body:
    """The body of a chat request. Raises `TypeError` for an option that the API does not have."""
    _refuse_unknown(options, ChatOptions.__optional_keys__)
    said = [MessageBody("user", messages)] if isinstance(messages, str) else list(messages)
    return write_body({"messages": said, "model": model, "stream": stream or None, **options})


def completion_body(
    prompt: str | Sequence[str], model: str | None, options: SamplingOptions, *, stream: bool
) -> Body:
    """The body of a text completion request. Raises `TypeError` as `chat_body` does."""
    _refuse_unknown(options, SamplingOptions.__optional_keys__)
    return write_body({"prompt": prompt, "model": model, "stream": stream or None, **options})


def embedding_body(
    inputs: Sequence[str] | Sequence[ImageItem],
    model: str | None,
    dimensions: int | None,
    input_type: InputType | None,
    extra: Extra | None,
) -> Body:
    """The body of a request for vectors, in base64: shorter than JSON numbers, and exact."""
    return write_body(
        {
            "input": inputs,
            "model": model,
            "dimensions": dimensions,
            "encoding_format": "base64",
            "input_type": input_type,
            "extra": extra,
        }
    )


def write_body(fields: Mapping[str, object]) -> Body:
    """`fields` as JSON, without those that are None; what `extra` has in it goes to the root.

    Raises `TypeError` for a value that JSON cannot carry, `ValueError` when `extra` names a field
    that is there already.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    headers = {"content-type": "application/json"}
    extra = given.pop("extra", None)
    if isinstance(extra, Mapping) and extra:
        twice = given.keys() & extra.keys()
        if twice:
            raise ValueError(f"Named twice, as an argument and in `extra`: {sorted(twice)}.")
        given |= extra
        headers["extra-parameters"] = "pass-through"
    return Body(codec.encode(given), headers)


def _refuse_unknown(options: Mapping[str, object], known: frozenset[str]) -> None:
    unknown = options.keys() - known
    if unknown:
        raise TypeError(
            f"Unknown options {sorted(unknown)}; known are {', '.join(sorted(known))}. What only"
            " the model knows goes into extra={...}."
        )
