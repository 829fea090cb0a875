"""The JSON of chat completions, as the three dialects share it (contract, section 4).

Requests are read leniently: null means absent, unknown keys inside messages and tools are ignored.
Responses are written exactly: a field that is absent is left out unless the contract wants null.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from zaffre.wire.usage import UsageBody


class ImageUrl(Struct, omit_defaults=True):
    """Where an image is: a data URL, or a web address."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class AudioUrl(Struct):
    """Where a sound clip is."""

    url: str


class InputAudio(Struct):
    """A sound clip in base64."""

    data: str
    format: str


class ContentPart(Struct, omit_defaults=True):
    """One part of a message's content. `type` says which of the other fields must be there."""

    type: str
    text: str | None = None
    content: str | None = None
    """The docs' own spelling of `text` and `image_url` (contract, section 4.2)."""
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    audio_url: AudioUrl | None = None
    refusal: str | None = None


class FunctionCall(Struct, omit_defaults=True):
    """Which function, with which arguments. Clients echo arguments as text or as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallBody(Struct, omit_defaults=True):
    """A tool call, in a message or (with `index`) in a stream."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionCall | None = None


class MessageBody(Struct, omit_defaults=True):
    """A message of a request."""

    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None


class FunctionBody(Struct, omit_defaults=True):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(Struct):
    """A tool. Only functions exist."""

    type: str = "function"
    function: FunctionBody | None = None


class NamedFunction(Struct):
    """A function by its name."""

    name: str


class NamedToolBody(Struct):
    """A tool choice that names the function."""

    type: str = "function"
    function: NamedFunction | None = None


class JsonSchemaBody(Struct, omit_defaults=True):
    """The schema of a structured answer."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Struct, omit_defaults=True):
    """The form an answer must have."""

    type: str
    json_schema: JsonSchemaBody | None = None


class StreamOptions(Struct, omit_defaults=True):
    """What a stream should have beside the answer."""

    include_usage: bool | None = None


class ChatRequest(Struct, omit_defaults=True, kw_only=True):
    """A chat request: the fields of all dialects. A dialect knows which are its own."""

    messages: list[MessageBody]
    model: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    seed: int | None = None
    response_format: str | ResponseFormat | None = None
    tools: list[ToolBody] | None = None
    tool_choice: str | NamedToolBody | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[str] | None = None
    reasoning_effort: str | None = None
    n: int | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    stream_options: StreamOptions | None = None


class LogprobBody(Struct):
    """A token and its natural-log probability; `bytes` because a token may be half a character."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprobBody(Struct):
    """A chosen token with its alternatives."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[LogprobBody] = []


class LogprobsBody(Struct):
    """The log probabilities of a choice or chunk."""

    content: list[TokenLogprobBody] | None = None


class AnswerMessage(Struct):
    """The message of an answer. `content` is always there: null with tool calls."""

    role: str = "assistant"
    content: str | None = None
    tool_calls: list[ToolCallBody] | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class Choice(Struct):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: str | None = None
    logprobs: LogprobsBody | UnsetType | None = UNSET
    content_filter_results: dict[str, Any] | UnsetType | None = UNSET


class ChatResponse(Struct, kw_only=True):
    """A whole answer."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage: UsageBody | UnsetType | None = UNSET
    prompt_filter_results: list[Any] | UnsetType | None = UNSET


class AnswerDelta(Struct):
    """What a chunk adds to a choice."""

    role: str | UnsetType | None = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallBody] | UnsetType | None = UNSET


class ChunkChoice(Struct):
    """A choice's part of a chunk; `finish_reason` is always there, null until the end."""

    index: int
    delta: AnswerDelta
    finish_reason: str | UnsetType | None = UNSET
    logprobs: LogprobsBody | UnsetType | None = UNSET
    content_filter_results: dict[str, Any] | UnsetType | None = UNSET


class ChatChunk(Struct, kw_only=True):
    """A piece of a streamed answer."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = []
    usage: UsageBody | UnsetType | None = UNSET
    prompt_filter_results: list[Any] | UnsetType | None = UNSET
