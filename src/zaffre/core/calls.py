"""Calls: requests without a dialect.

A dialect parses bytes into one of these values once; everything behind it trusts them. Names of
sampling fields are the names that all three dialects use on the wire, so that a refusal can point
at the field the client wrote.
"""

from typing import Any, Literal

from msgspec import Struct

Operation = Literal["chat", "complete", "embed", "embed_images"]

OPERATIONS: tuple[Operation, ...] = ("chat", "complete", "embed", "embed_images")


class TextPart(Struct, frozen=True, tag="text"):
    """A run of text in a message."""

    text: str


class ImagePart(Struct, frozen=True, tag="image"):
    """An image in a message, as the bytes of its file."""

    content: bytes
    media_type: str
    detail: Literal["auto", "low", "high"] = "auto"


class AudioPart(Struct, frozen=True, tag="audio"):
    """A sound clip in a message, as the bytes of its file."""

    content: bytes
    format: str


class MediaReference(Struct, frozen=True, tag="reference"):
    """An image or sound clip that the server would have to fetch from `url` first."""

    kind: Literal["image", "audio"]
    url: str


Part = TextPart | ImagePart | AudioPart | MediaReference


class ToolCall(Struct, frozen=True):
    """A model's wish to call a tool. `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class SystemMessage(Struct, frozen=True, tag="system"):
    """An instruction of the application (roles `system` and `developer`)."""

    text: str


class UserMessage(Struct, frozen=True, tag="user"):
    """What the user said or showed."""

    parts: tuple[Part, ...]


class AssistantMessage(Struct, frozen=True, tag="assistant"):
    """An earlier answer of the model."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class ToolMessage(Struct, frozen=True, tag="tool"):
    """The result of a tool, in answer to the call with this id."""

    tool_call_id: str
    text: str


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


class Tool(Struct, frozen=True):
    """A function the model may call. `parameters` is a JSON Schema of type object."""

    name: str
    parameters: dict[str, Any]
    description: str = ""
    strict: bool = False


class NamedTool(Struct, frozen=True):
    """The one function the model must call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


class JsonSchema(Struct, frozen=True):
    """Decode under this schema: the answer is JSON that satisfies it."""

    name: str
    schema: dict[str, Any]
    strict: bool = False


OutputFormat = Literal["text", "json_object"] | JsonSchema


class Sampling(Struct, frozen=True):
    """How to draw tokens. `None` and the given defaults mean: the client did not ask.

    Ranges are the dialects'; what a model supports stands in its `Capabilities`.
    """

    temperature: float | None = None
    """0 (greedy) to 2; when absent, the model card's, or 1."""
    top_p: float | None = None
    """0 to 1; when absent, the model card's, or 1."""
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    """-2 to 2; 0 when absent."""
    max_tokens: int | None = None
    """Upper bound on generated tokens per choice; the engine's default bound when absent."""
    stop: tuple[str, ...] = ()
    """Generation ends before any of these texts; they are not part of the answer."""
    seed: int | None = None
    n: int = 1
    """Number of choices per prompt."""
    logprobs: int | None = None
    """None: no log probabilities. k: those of the chosen token and of k alternatives."""
    logit_bias: dict[int, float] | None = None
    """Token id -> bias, -100 to 100."""
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False


class ChatCall(Struct, frozen=True):
    """A conversation to continue."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    format: OutputFormat = "text"
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    modalities: tuple[str, ...] = ("text",)
    reasoning_effort: str | None = None
    """How long a model that reasons should do so: none, minimal, low, medium, high or xhigh."""
    extra: dict[str, Any] = {}
    """Parameters passed through to the model that Zaffre has no field for."""


class CompletionCall(Struct, frozen=True):
    """Prompts to continue. A prompt is text or a tuple of the model's own token ids."""

    prompts: tuple[str | tuple[int, ...], ...]
    sampling: Sampling = Sampling()
    echo: bool = False
    suffix: str | None = None
    best_of: int | None = None
    extra: dict[str, Any] = {}


InputType = Literal["text", "query", "document"]


class EmbedCall(Struct, frozen=True):
    """Texts to embed."""

    texts: tuple[str, ...]
    dimensions: int | None = None
    input_type: InputType = "text"
    extra: dict[str, Any] = {}


class ImageInput(Struct, frozen=True):
    """An image file, with a caption or not, to be embedded into one vector."""

    image: bytes
    text: str | None = None


class ImageEmbedCall(Struct, frozen=True):
    """Images to embed."""

    inputs: tuple[ImageInput, ...]
    dimensions: int | None = None
    input_type: InputType = "text"
    extra: dict[str, Any] = {}


Call = ChatCall | CompletionCall | EmbedCall | ImageEmbedCall
GenerationCall = ChatCall | CompletionCall
EmbeddingCall = EmbedCall | ImageEmbedCall


def operation_of(call: Call) -> Operation:
    """What `call` asks for."""
    match call:
        case ChatCall():
            return "chat"
        case CompletionCall():
            return "complete"
        case EmbedCall():
            return "embed"
        case ImageEmbedCall():
            return "embed_images"
