"""The Azure AI Model Inference dialect: URLs, headers and JSON of contract sections 1 to 7."""

import re
import time
from functools import cache

from msgspec import UNSET

from zaffre.asgi.exchange import EVENT_STREAM, JSON, Send, send_stream, send_whole
from zaffre.core.calls import Operation
from zaffre.core.context import Context
from zaffre.core.deltas import Embeddings
from zaffre.core.errors import ExtraParameters, InvalidParameter, UnsupportedParameter
from zaffre.core.ids import new_uuid
from zaffre.routing.table import Route, Selector
from zaffre.server.dialects.azure_stream import AnswerHead, chat_frames, text_frames
from zaffre.server.dialects.common import (
    SESSION_HEADER,
    Read,
    named_deployment,
    unknown_keys,
    without_field,
)
from zaffre.server.dialects.model_entries import model_entry, model_type
from zaffre.server.request import Request
from zaffre.service.gateway import Gateway
from zaffre.translation import answers
from zaffre.translation.chat_requests import read_chat
from zaffre.translation.other_requests import (
    read_completion,
    read_embedding,
    read_image_embedding,
)
from zaffre.wire import codec, sse
from zaffre.wire.chat import ChatRequest, ChatResponse
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import ENCODINGS, EmbeddingRequest, ImageEmbeddingRequest
from zaffre.wire.models import ModelInfo, ModelList

KNOWN_VERSIONS = (
    "2024-04-01-preview",
    "2024-05-01-preview",
    "2025-02-01-preview",
    "2025-04-01",
    "2025-05-01",
    "2025-05-01-preview",
    "2025-05-15-preview",
)
DIALECT = "azure-inference"
"""What the ledger calls it."""
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?|preview|latest|v1")
DEFAULT_VERSION = "2024-05-01-preview"
DEFAULT_COMPLETION_TOKENS = 256
"""Contract, section 6.1."""

CHAT_FIELDS = frozenset(
    [
        "messages",
        "model",
        "frequency_penalty",
        "presence_penalty",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "stream",
        "seed",
        "response_format",
        "tools",
        "tool_choice",
        "modalities",
        "user_security_context",
    ]
)
COMPLETION_FIELDS = frozenset(
    [
        "prompt",
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
    ]
)
EMBEDDING_FIELDS = frozenset(["input", "model", "dimensions", "encoding_format", "input_type"])
"""What is not an extra parameter, per route (contract, sections 4.1, 5 and 6.1)."""
WITHOUT_EFFECT = frozenset(("user", "metadata", "service_tier", "stream_options"))
"""Passed-through keys that ask nothing of a model: notes of the caller, and usage in streams, which
this dialect always gives."""


class AzureInference:
    """Answers the dialect's operations from one gateway."""

    def __init__(self, gateway: Gateway, *, strict_versions: bool = False) -> None:
        self._gateway = gateway
        self._strict_versions = strict_versions

    def check_version(self, request: Request) -> str:
        """The api-version asked for. Raises `InvalidParameter` for one that cannot be."""
        version = request.parameter("api-version")
        if self._strict_versions and version not in KNOWN_VERSIONS:
            raise InvalidParameter(
                ("api-version",),
                version,
                "The api-version query parameter must be one of: " + ", ".join(KNOWN_VERSIONS),
            )
        if version is None:
            return DEFAULT_VERSION
        if not _VERSION.fullmatch(version):
            raise InvalidParameter(
                ("api-version",),
                version,
                "The api-version query parameter is YYYY-MM-DD[-preview].",
            )
        return version

    async def chat(self, request: Request, body: bytes, send: Send) -> None:
        """POST /chat/completions."""
        version = self.check_version(request)
        parsed, extra = _read(request, body, ChatRequest, CHAT_FIELDS)
        context = request.context(DIALECT, stream=bool(parsed.stream))
        route = self._choose(request, context, parsed.model, "chat")
        call = read_chat(parsed, extra)
        head = _head(route)
        headers = _headers(request, route)
        if context.stream:
            apart = version >= "2025-04-01"
            async with self._gateway.streaming(context, route, call) as stream:
                frames = chat_frames(stream.batches, head, thoughts_apart=apart)
                await send_stream(send, [EVENT_STREAM, *headers], frames, sse.END)
            return
        answered = await self._gateway.answer(context, route, call)
        response = answers.write_chat_answer(answered.answer)
        if version < "2025-04-01":
            _put_thoughts_inside(response)
        response.id, response.created, response.model = head.id, head.created, head.model
        response.object = "chat.completion"
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def complete(self, request: Request, body: bytes, send: Send) -> None:
        """POST /completions."""
        self.check_version(request)
        parsed, extra = _read(request, body, CompletionRequest, COMPLETION_FIELDS)
        context = request.context(DIALECT, stream=bool(parsed.stream))
        route = self._choose(request, context, parsed.model, "complete")
        if parsed.max_tokens is None:
            parsed.max_tokens = DEFAULT_COMPLETION_TOKENS
        call = read_completion(parsed, extra)
        head = _head(route)
        headers = _headers(request, route)
        if context.stream:
            async with self._gateway.streaming(context, route, call) as stream:
                frames = text_frames(stream.batches, head)
                await send_stream(send, [EVENT_STREAM, *headers], frames, sse.END)
            return
        answered = await self._gateway.answer(context, route, call)
        response = answers.write_text_answer(answered.answer)
        response.id, response.created, response.model = head.id, head.created, head.model
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def embed(self, request: Request, body: bytes, send: Send) -> None:
        """POST /embeddings."""
        self.check_version(request)
        parsed, extra = _read(request, body, EmbeddingRequest, EMBEDDING_FIELDS)
        context = request.context(DIALECT)
        route = self._choose(request, context, parsed.model, "embed")
        encoding = _encoding(parsed.encoding_format)
        vectors = await self._gateway.embed(context, route, read_embedding(parsed, extra))
        await _send_vectors(send, request, route, vectors, encoding)

    async def embed_images(self, request: Request, body: bytes, send: Send) -> None:
        """POST /images/embeddings."""
        self.check_version(request)
        parsed, extra = _read(request, body, ImageEmbeddingRequest, EMBEDDING_FIELDS)
        context = request.context(DIALECT)
        route = self._choose(request, context, parsed.model, "embed_images")
        encoding = _encoding(parsed.encoding_format)
        vectors = await self._gateway.embed(context, route, read_image_embedding(parsed, extra))
        await _send_vectors(send, request, route, vectors, encoding)

    async def info(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /info."""
        self.check_version(request)
        selector = _selector(request, request.parameter("model"))
        _, deployment = self._gateway.describe(request.context(DIALECT), selector)
        card = deployment.card
        info = ModelInfo(card.title or card.name, model_type(deployment), card.provider)
        headers = [JSON, *_headers(request, Route(deployment))]
        await send_whole(send, 200, headers, codec.encode(info))

    async def models(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models."""
        self.check_version(request)
        listed = self._gateway.listed(request.context(DIALECT), request.endpoint)
        entries = [model_entry(name, deployment) for name, deployment in listed]
        body = codec.encode(ModelList(entries))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    def _choose(
        self, request: Request, context: Context, model: str | None, operation: Operation
    ) -> Route:
        return self._gateway.choose(context, _selector(request, model), operation)


async def _send_vectors(
    send: Send, request: Request, route: Route, vectors: Embeddings, encoding: str
) -> None:
    response = answers.write_embeddings(vectors, encoding)
    response.id, response.model = new_uuid(), route.deployment.name
    headers = [JSON, *_headers(request, route)]
    await send_whole(send, 200, headers, codec.encode(response))


def _selector(request: Request, model: str | None) -> Selector:
    return Selector(
        deployment=named_deployment(request),
        model=model or None,
        mesh_model=request.header(b"x-ms-model-mesh-model-name"),
        endpoint=request.endpoint,
        session=request.header(SESSION_HEADER),
    )


def _head(route: Route) -> AnswerHead:
    return AnswerHead(new_uuid(), int(time.time()), route.deployment.name)


def _headers(request: Request, route: Route) -> list[tuple[bytes, bytes]]:
    """Who answered (contract, section 8.3)."""
    name = route.deployment.name.encode()
    headers = [
        *request.answer_headers(),
        (b"azureml-model-deployment", name),
        (b"azureml-model-session", name),
    ]
    if route.endpoint is not None:
        headers.append((b"azureml-model-group", route.endpoint.name.encode()))
    return headers


def _read(
    request: Request, body: bytes, kind: type[Read], known: frozenset[str]
) -> tuple[Read, dict[str, object]]:
    """The body's struct, and the passed-through keys that the struct has no field for."""
    plain = codec.decode_closed(body, kind)
    if plain is not None and all(getattr(plain, name) is None for name in _extras(kind, known)):
        return plain, {}  # nearly always, and with one look at the body
    root = codec.decode_root(body)
    extras = unknown_keys(root, known)
    if not extras:
        return codec.decode(body, kind), {}
    match (request.header(b"extra-parameters") or "error").lower():
        case "error":
            raise ExtraParameters(extras)
        case "drop" | "ignore":
            kept = {name: value for name, value in root.items() if name in known}
            return codec.decode(codec.encode(kept), kind), {}
        case "pass-through" | "allow":
            return codec.decode(body, kind), without_field(root, extras, kind, WITHOUT_EFFECT)
        case other:
            raise InvalidParameter(
                ("extra-parameters",),
                other,
                "The extra-parameters header must be 'error', 'drop' or 'pass-through'.",
            )


@cache
def _extras(kind: type[Read], known: frozenset[str]) -> tuple[str, ...]:
    """The fields of `kind` that are extra parameters here."""
    return tuple(name for name in kind.__struct_fields__ if name not in known)


def _encoding(name: str | None) -> str:
    if name is None:
        return "float"
    if name not in ENCODINGS:
        raise UnsupportedParameter(
            ("encoding_format",), name, f"Supported encodings: {', '.join(ENCODINGS)}."
        )
    return name


def _put_thoughts_inside(response: ChatResponse) -> None:
    """Before 2025-04-01 reasoning stood in the content (contract, section 1)."""
    for choice in response.choices:
        message = choice.message
        if isinstance(message.reasoning_content, str):
            message.content = f"<think>{message.reasoning_content}</think>{message.content or ''}"
            message.reasoning_content = UNSET
