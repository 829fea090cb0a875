"""Completion and embedding requests: wire to core and back."""

import base64

from zaffre.core.calls import CompletionCall, EmbedCall, ImageEmbedCall, ImageInput, InputType
from zaffre.core.errors import InvalidParameter, UnsupportedParameter
from zaffre.translation.chat_requests import read_data_url
from zaffre.translation.sampling import read_sampling, write_sampling
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest, ImageItem

MAX_PROMPTS = 128
DEFAULT_PROMPT = "<|endoftext|>"
"""What the docs' table gives for an absent prompt (contract, section 6.1)."""
INPUT_TYPES: tuple[InputType, ...] = ("text", "query", "document")


def read_completion(request: CompletionRequest, extra: dict[str, object]) -> CompletionCall:
    """The call that `request` means. Raises `InvalidParameter`."""
    return CompletionCall(
        prompts=_read_prompts(request.prompt),
        sampling=read_sampling(request, request.logprobs),
        echo=bool(request.echo),
        suffix=request.suffix,
        best_of=request.best_of,
        extra=extra,
    )


def _read_prompts(
    prompt: str | list[str | int | list[int]] | None,
) -> tuple[str | tuple[int, ...], ...]:
    if prompt is None:
        return (DEFAULT_PROMPT,)
    if isinstance(prompt, str):
        return (prompt,)
    if not prompt:
        raise InvalidParameter(("prompt",), [], "'prompt' must not be an empty list.")
    ids = [item for item in prompt if isinstance(item, int)]
    if len(ids) == len(prompt):
        return (tuple(ids),)
    if ids:
        raise InvalidParameter(("prompt",), "mixed list", "A list of token ids holds numbers only.")
    if len(prompt) > MAX_PROMPTS:
        raise InvalidParameter(("prompt",), len(prompt), f"More than {MAX_PROMPTS} prompts.")
    texts = [item for item in prompt if not isinstance(item, int)]
    return tuple(item if isinstance(item, str) else tuple(item) for item in texts)


def write_completion(call: CompletionCall, model: str, *, stream: bool) -> CompletionRequest:
    """The request that means `call`, in the form every OpenAI-compatible server reads."""
    prompts: list[str | int | list[int]] = [
        prompt if isinstance(prompt, str) else list(prompt) for prompt in call.prompts
    ]
    only = prompts[0] if len(prompts) == 1 else None
    request = CompletionRequest(
        prompt=only if isinstance(only, str) else prompts,
        model=model,
        stream=stream,
        echo=call.echo or None,
        suffix=call.suffix,
        best_of=call.best_of,
        logprobs=call.sampling.logprobs,
    )
    write_sampling(call.sampling, request)
    return request


def read_embedding(request: EmbeddingRequest, extra: dict[str, object]) -> EmbedCall:
    """The call that `request` means. Raises `InvalidParameter` or `UnsupportedParameter`."""
    items = [request.input] if isinstance(request.input, str) else request.input
    if not items:
        raise InvalidParameter(("input",), [], "'input' must have at least one text.")
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise UnsupportedParameter(
            ("input",),
            "token ids",
            "Token ids belong to one tokenizer and cannot be embedded by another model: send text"
            " (langchain: check_embedding_ctx_length=False).",
        )
    return EmbedCall(texts, request.dimensions, _read_input_type(request.input_type), extra)


def write_embedding(call: EmbedCall, model: str) -> EmbeddingRequest:
    """The request that means `call`; vectors are asked for in base64, the exact form."""
    return EmbeddingRequest(
        input=list(call.texts),
        model=model,
        dimensions=call.dimensions,
        encoding_format="base64",
        input_type=None if call.input_type == "text" else call.input_type,
    )


def read_image_embedding(
    request: ImageEmbeddingRequest, extra: dict[str, object]
) -> ImageEmbedCall:
    """The call that `request` means. Raises `InvalidParameter` or `UnsupportedParameter`."""
    if not request.input:
        raise InvalidParameter(("input",), [], "'input' must have at least one image.")
    inputs = tuple(
        ImageInput(read_data_url(item.image, ("input", i, "image")), item.text)
        for i, item in enumerate(request.input)
    )
    return ImageEmbedCall(inputs, request.dimensions, _read_input_type(request.input_type), extra)


def write_image_embedding(call: ImageEmbedCall, model: str) -> ImageEmbeddingRequest:
    """The request that means `call`. The media type is not known here, nor needed by a worker."""
    return ImageEmbeddingRequest(
        input=[
            ImageItem(f"data:image/*;base64,{base64.b64encode(item.image).decode()}", item.text)
            for item in call.inputs
        ],
        model=model,
        dimensions=call.dimensions,
        encoding_format="base64",
        input_type=None if call.input_type == "text" else call.input_type,
    )


def _read_input_type(name: str | None) -> InputType:
    for known in INPUT_TYPES:
        if name == known:
            return known
    if name is None:
        return "text"
    raise UnsupportedParameter(
        ("input_type",), name, f"'{name}' is not an input type; use {', '.join(INPUT_TYPES)}."
    )
