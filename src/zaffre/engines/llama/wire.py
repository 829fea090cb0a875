"""What `llama-server` is sent and answers: the parts of its HTTP API that the engine uses."""

from base64 import b64encode
from typing import Any

import msgspec
from msgspec import Struct

from zaffre.core.calls import (
    AssistantMessage,
    AudioPart,
    ChatCall,
    ImagePart,
    MediaReference,
    Message,
    Part,
    Sampling,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from zaffre.core.deltas import Alternative, TokenLogprob
from zaffre.core.errors import UnsupportedParameter
from zaffre.engines.text.tool_calls import function_object

RANDOM_SEED = 2**32 - 1
"""llama.cpp takes this seed for "any"; the seeds below it are honoured."""


class ServerError(Struct, frozen=True):
    """Why llama.cpp refused or failed."""

    message: str = ""
    type: str = ""
    code: int = 500
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class ErrorEnvelope(Struct, frozen=True):
    """The body of a refusal."""

    error: ServerError


class Modalities(Struct, frozen=True):
    """What the model's projector understands."""

    vision: bool = False
    audio: bool = False


class TemplateAbilities(Struct, frozen=True):
    """What the model's chat template has a place for."""

    supports_tools: bool = False


class Properties(Struct, frozen=True):
    """GET /props."""

    modalities: Modalities
    chat_template: str = ""
    chat_template_caps: TemplateAbilities = TemplateAbilities()


class Slot(Struct, frozen=True):
    """One row of GET /slots."""

    id: int
    is_processing: bool


class Tokens(Struct, frozen=True):
    """POST /tokenize."""

    tokens: list[int]


class Content(Struct, frozen=True):
    """POST /detokenize, and POST /completion as a whole."""

    content: str


class Prompt(Struct, frozen=True):
    """POST /apply-template."""

    prompt: str


class ScoredToken(Struct, frozen=True):
    """A token with its log probability."""

    token: str
    logprob: float
    bytes: list[int]


class ChosenToken(ScoredToken, frozen=True):
    """A drawn token, with the most likely ones."""

    top_logprobs: list[ScoredToken] = []


class Progress(Struct, frozen=True):
    """How many tokens of the prompt there are, and how many were known already."""

    total: int
    cache: int = 0


class CompletionEvent(Struct, frozen=True):
    """One event of POST /completion."""

    index: int = 0
    content: str = ""
    stop: bool = False
    stop_type: str = ""
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    completion_probabilities: list[ChosenToken] = []
    prompt_progress: Progress | None = None
    error: ServerError | None = None


class FunctionFragment(Struct):
    """A piece of a tool call's name or arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolFragment(Struct):
    """A piece of a tool call."""

    index: int = 0
    function: FunctionFragment = msgspec.field(default_factory=FunctionFragment)


class ChatPiece(Struct, frozen=True):
    """What one event adds to a chat answer."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolFragment] | None = None


class ChosenTokens(Struct, frozen=True):
    """The log probabilities of one event."""

    content: list[ChosenToken] | None = None


class ChatChoice(Struct, frozen=True):
    """One choice in an event of POST /v1/chat/completions."""

    index: int = 0
    delta: ChatPiece = ChatPiece()
    finish_reason: str | None = None
    logprobs: ChosenTokens | None = None


class TokenDetails(Struct, frozen=True):
    """What part of the prompt was known already."""

    cached_tokens: int = 0


class Timings(Struct, frozen=True):
    """How far the generation is."""

    predicted_n: int = 0


class ChatUsage(Struct, frozen=True):
    """The tokens of one choice."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: TokenDetails = TokenDetails()


class ChatEvent(Struct, frozen=True):
    """One event of POST /v1/chat/completions."""

    choices: list[ChatChoice] = []
    usage: ChatUsage | None = None
    prompt_progress: Progress | None = None
    timings: Timings | None = None
    error: ServerError | None = None


def token_logprobs(tokens: list[ChosenToken], alternatives: int) -> tuple[TokenLogprob, ...]:
    """The log probabilities in our form. Special tokens, which have no text, are left out."""
    return tuple(
        TokenLogprob(
            token.token,
            token.logprob,
            bytes(token.bytes),
            tuple(
                Alternative(other.token, other.logprob, bytes(other.bytes))
                for other in token.top_logprobs[:alternatives]
            ),
        )
        for token in tokens
        if token.bytes
    )


def sampling_fields(sampling: Sampling, n_ctx: int) -> dict[str, Any]:
    """The fields of a request that say how to draw tokens.

    Every one that shapes an answer is sent, so that neither llama.cpp's defaults (top_k 40, min_p
    0.05, temperature 0.8) nor those in the model's file apply. `stop` is not: llama.cpp drops text
    that it held back for a stop text when the answer ends for another reason.
    """
    fields: dict[str, Any] = {
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "top_k": sampling.top_k or 0,
        "min_p": sampling.min_p or 0.0,
        "typical_p": 1.0,
        "frequency_penalty": sampling.frequency_penalty or 0.0,
        "presence_penalty": sampling.presence_penalty or 0.0,
        "repeat_penalty": sampling.repetition_penalty or 1.0,
        "repeat_last_n": n_ctx,  # the penalties' reach; 64 without this
        "ignore_eos": sampling.ignore_eos,
        "n": sampling.n,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed % RANDOM_SEED
    if sampling.logit_bias:
        fields["logit_bias"] = [[token, bias] for token, bias in sampling.logit_bias.items()]
    return fields


def chat_fields(call: ChatCall) -> dict[str, Any]:
    """The fields of a request that say what the conversation is, with its tools if it has any."""
    fields: dict[str, Any] = {"messages": [_message(message) for message in call.messages]}
    if call.tools and call.tool_choice != "none":
        fields["tools"] = [function_object(tool) for tool in call.tools]
        fields["parallel_tool_calls"] = call.parallel_tool_calls
    return fields


def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text=text):
            return {"role": "system", "content": text}
        case UserMessage(parts=parts):
            if all(isinstance(part, TextPart) for part in parts):
                text = "".join(part.text for part in parts if isinstance(part, TextPart))
                return {"role": "user", "content": text}
            return {"role": "user", "content": [_part(part) for part in parts]}
        case AssistantMessage(text=text, tool_calls=calls):
            made = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ]
            answer: dict[str, Any] = {"role": "assistant", "content": text}
            return answer | {"tool_calls": made} if made else answer
        case ToolMessage(tool_call_id=call_id, text=text):
            return {"role": "tool", "tool_call_id": call_id, "content": text}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(content=content, media_type=media_type):
            # Always the bytes: llama.cpp would fetch any address it is given.
            url = f"data:{media_type};base64,{b64encode(content).decode()}"
            return {"type": "image_url", "image_url": {"url": url}}
        case AudioPart(content=content, format=kind):
            sound = {"data": b64encode(content).decode(), "format": kind}
            return {"type": "input_audio", "input_audio": sound}
        case MediaReference():  # for who calls the engine without the check
            raise UnsupportedParameter(
                ("messages",), None, "The llama engine takes images and sound as bytes only."
            )
