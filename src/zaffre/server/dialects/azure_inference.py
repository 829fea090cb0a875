"""The Azure AI Model Inference dialect: URLs, headers and JSON of contract sections 1 to 7."""

import re
import time
import uuid
from contextlib import aclosing

from msgspec import UNSET

from zaffre.asgi.exchange import EVENT_STREAM, JSON, Send, send_stream, send_whole
from zaffre.core.answers import gather
from zaffre.core.calls import EmbedCall, ImageEmbedCall, Operation
from zaffre.core.errors import ExtraParameters, InvalidParameter, UnsupportedParameter
from zaffre.routing.table import Deployment, Selector
from zaffre.server.dialects.azure_stream import AnswerHead, chat_frames, text_frames
from zaffre.server.dialects.common import Read, unknown_keys, without_field
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
from zaffre.wire import codec
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
        deployment = self._choose(request, parsed.model, "chat")
        call = read_chat(parsed, extra)
        stream = bool(parsed.stream)
        deltas = self._gateway.generate(deployment, call, stream=stream)
        head = _head(deployment)
        headers = _headers(request, deployment)
        if stream:
            frames = chat_frames(deltas, head, thoughts_apart=version >= "2025-04-01")
            await send_stream(send, [EVENT_STREAM, *headers], frames)
            return
        async with aclosing(deltas):
            answer = await gather(deltas)
        response = answers.write_chat_answer(answer)
        if version < "2025-04-01":
            _put_thoughts_inside(response)
        response.id, response.created, response.model = head.id, head.created, head.model
        response.object = "chat.completion"
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def complete(self, request: Request, body: bytes, send: Send) -> None:
        """POST /completions."""
        self.check_version(request)
        parsed, extra = _read(request, body, CompletionRequest, COMPLETION_FIELDS)
        deployment = self._choose(request, parsed.model, "complete")
        if parsed.max_tokens is None:
            parsed.max_tokens = DEFAULT_COMPLETION_TOKENS
        call = read_completion(parsed, extra)
        stream = bool(parsed.stream)
        deltas = self._gateway.generate(deployment, call, stream=stream)
        head = _head(deployment)
        headers = _headers(request, deployment)
        if stream:
            await send_stream(send, [EVENT_STREAM, *headers], text_frames(deltas, head))
            return
        async with aclosing(deltas):
            response = answers.write_text_answer(await gather(deltas))
        response.id, response.created, response.model = head.id, head.created, head.model
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def embed(self, request: Request, body: bytes, send: Send) -> None:
        """POST /embeddings."""
        self.check_version(request)
        parsed, extra = _read(request, body, EmbeddingRequest, EMBEDDING_FIELDS)
        deployment = self._choose(request, parsed.model, "embed")
        encoding = _encoding(parsed.encoding_format)
        await self._send_vectors(request, deployment, read_embedding(parsed, extra), encoding, send)

    async def embed_images(self, request: Request, body: bytes, send: Send) -> None:
        """POST /images/embeddings."""
        self.check_version(request)
        parsed, extra = _read(request, body, ImageEmbeddingRequest, EMBEDDING_FIELDS)
        deployment = self._choose(request, parsed.model, "embed_images")
        encoding = _encoding(parsed.encoding_format)
        await self._send_vectors(
            request, deployment, read_image_embedding(parsed, extra), encoding, send
        )

    async def info(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /info."""
        self.check_version(request)
        deployment = self._gateway.table.describe(_selector(request, request.parameter("model")))
        card = deployment.card
        info = ModelInfo(card.title or card.name, model_type(deployment), card.provider)
        headers = [JSON, *_headers(request, deployment)]
        await send_whole(send, 200, headers, codec.encode(info))

    async def models(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models."""
        self.check_version(request)
        entries = [model_entry(deployment) for deployment in self._gateway.table]
        body = codec.encode(ModelList(entries))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    def _choose(self, request: Request, model: str | None, operation: Operation) -> Deployment:
        return self._gateway.choose(_selector(request, model), operation)

    async def _send_vectors(
        self,
        request: Request,
        deployment: Deployment,
        call: EmbedCall | ImageEmbedCall,
        encoding: str,
        send: Send,
    ) -> None:
        vectors = await self._gateway.embed(deployment, call)
        response = answers.write_embeddings(vectors, encoding)
        response.id, response.model = str(uuid.uuid4()), deployment.name
        headers = [JSON, *_headers(request, deployment)]
        await send_whole(send, 200, headers, codec.encode(response))


def _selector(request: Request, model: str | None) -> Selector:
    return Selector(
        deployment=request.header(b"azureml-model-deployment"),
        model=model or None,
        mesh_model=request.header(b"x-ms-model-mesh-model-name"),
    )


def _head(deployment: Deployment) -> AnswerHead:
    return AnswerHead(str(uuid.uuid4()), int(time.time()), deployment.name)


def _headers(request: Request, deployment: Deployment) -> list[tuple[bytes, bytes]]:
    name = deployment.name.encode()
    return [*request.answer_headers(), (b"azureml-model-deployment", name)]


def _read(
    request: Request, body: bytes, kind: type[Read], known: frozenset[str]
) -> tuple[Read, dict[str, object]]:
    """The body's struct, and the passed-through keys that the struct has no field for."""
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
