"""The OpenAI family: OpenAI v1, and Azure OpenAI deployments.

In v1 the body names the model, on a deployment the path does. Everything else is the same, but for
the words of a few errors.
"""

import time
from contextlib import aclosing
from typing import TypeVar

from zaffre.asgi.exchange import EVENT_STREAM, JSON, Send, send_stream, send_whole
from zaffre.core.answers import gather
from zaffre.core.calls import Operation
from zaffre.core.errors import InvalidParameter, InvalidRequest, UnsupportedParameter
from zaffre.routing.table import Deployment, Selector
from zaffre.server.dialects.common import unknown_keys
from zaffre.server.dialects.model_entries import model_entry
from zaffre.server.dialects.openai_stream import StreamHead, chat_frames, new_id, text_frames
from zaffre.server.request import Request
from zaffre.service.gateway import Gateway
from zaffre.translation import answers
from zaffre.translation.chat_requests import read_chat
from zaffre.translation.other_requests import read_completion, read_embedding
from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest, StreamOptions
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest
from zaffre.wire.models import ModelList
from zaffre.wire.responses import ResponsesRequest

MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
DEFAULT_COMPLETION_TOKENS = 16
"""Contract, section 6.1."""
WITHOUT_EFFECT = frozenset(
    ("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
)
"""Keys that ask nothing of a model: notes of the caller about the caller."""
FIXED = {"store": (False,), "service_tier": ("auto", "default"), "verbosity": ("medium",)}
"""Keys that may only say what is the case anyway."""
_ENCODINGS = ("float", "base64")


Body = TypeVar("Body", ChatRequest, CompletionRequest, EmbeddingRequest, ResponsesRequest)


class OpenAI:
    """Answers the family's operations from one gateway."""

    def __init__(self, gateway: Gateway, *, azure: bool, default_model: bool = False) -> None:
        self._gateway = gateway
        self._azure = azure
        self._default_model = default_model

    async def chat(self, request: Request, body: bytes, send: Send) -> None:
        """POST /chat/completions."""
        parsed = read_known(body, ChatRequest)
        _check_stops(parsed.stop)
        if (parsed.top_logprobs or 0) > MAX_TOP_LOGPROBS:
            raise InvalidParameter(
                ("top_logprobs",), parsed.top_logprobs, f"At most {MAX_TOP_LOGPROBS}."
            )
        deployment = self.choose(request, parsed.model, "chat")
        call = read_chat(parsed, {})
        stream = bool(parsed.stream)
        deltas = self._gateway.generate(deployment, call, stream=stream)
        head = _head("chatcmpl-", deployment, parsed.stream_options)
        headers = self.headers(request, deployment)
        if stream:
            await send_stream(send, [EVENT_STREAM, *headers], chat_frames(deltas, head))
            return
        async with aclosing(deltas):
            response = answers.write_chat_answer(await gather(deltas))
        response.id, response.created, response.model = head.id, head.created, head.model
        response.object = "chat.completion"
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def complete(self, request: Request, body: bytes, send: Send) -> None:
        """POST /completions."""
        parsed = read_known(body, CompletionRequest)
        _check_stops(parsed.stop)
        deployment = self.choose(request, parsed.model, "complete")
        if parsed.max_tokens is None:
            parsed.max_tokens = DEFAULT_COMPLETION_TOKENS
        call = read_completion(parsed, {})
        stream = bool(parsed.stream)
        deltas = self._gateway.generate(deployment, call, stream=stream)
        head = _head("cmpl-", deployment, parsed.stream_options)
        headers = self.headers(request, deployment)
        if stream:
            await send_stream(send, [EVENT_STREAM, *headers], text_frames(deltas, head))
            return
        async with aclosing(deltas):
            response = answers.write_text_answer(await gather(deltas))
        response.id, response.created, response.model = head.id, head.created, head.model
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def embed(self, request: Request, body: bytes, send: Send) -> None:
        """POST /embeddings."""
        parsed = read_known(body, EmbeddingRequest)
        encoding = parsed.encoding_format or "float"
        if encoding not in _ENCODINGS:
            raise InvalidParameter(
                ("encoding_format",),
                encoding,
                f"Invalid value for 'encoding_format' = {encoding}. Supported values:"
                " ['float','base64'].",
            )
        deployment = self.choose(request, parsed.model, "embed")
        call = read_embedding(parsed, {})
        if "" in call.texts:
            raise InvalidParameter(("input",), "", "'input' must not have an empty string.")
        vectors = await self._gateway.embed(deployment, call)
        response = answers.write_embeddings(vectors, encoding)
        response.model = deployment.name
        headers = [JSON, *self.headers(request, deployment)]
        await send_whole(send, 200, headers, codec.encode(response))

    async def models(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models."""
        entries = ModelList([model_entry(deployment) for deployment in self._gateway.table])
        await send_whole(send, 200, [JSON, *request.answer_headers()], codec.encode(entries))

    async def model(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models/{id}."""
        deployment = self._gateway.table.describe(Selector(deployment=request.path_name))
        body = codec.encode(model_entry(deployment))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    def choose(self, request: Request, model: str | None, operation: Operation) -> Deployment:
        """The deployment that the path (Azure) or the body (v1) names."""
        name = request.path_name if self._azure else model
        if not name and not self._default_model:
            raise InvalidRequest("You must provide a model parameter.", ("model",))
        return self._gateway.choose(Selector(deployment=name or None), operation)

    def headers(self, request: Request, deployment: Deployment) -> list[tuple[bytes, bytes]]:
        """The headers of an answer."""
        name = deployment.name.encode()
        return [*request.answer_headers(), (b"x-ms-deployment-name", name)]


def read_known(body: bytes, kind: type[Body]) -> Body:
    """The body's struct. Raises `InvalidRequest` for a key that would be ignored, and
    `UnsupportedParameter` for a value of one that may only say what is the case anyway.
    """
    root = codec.decode_root(body)
    for name in unknown_keys(root, frozenset(kind.__struct_fields__) | WITHOUT_EFFECT):
        if name not in FIXED:
            raise InvalidRequest(f"Unrecognized request argument supplied: {name}", (name,))
        value, allowed = codec.decode_value(root[name]), FIXED[name]
        if value not in allowed:
            only = " or ".join(codec.encode(fact).decode() for fact in allowed)
            raise UnsupportedParameter((name,), value, f"'{name}' can only be {only} here.")
    return codec.decode(body, kind)


def _check_stops(stop: str | list[str] | None) -> None:
    if isinstance(stop, list) and len(stop) > MAX_STOPS:
        raise InvalidParameter(("stop",), len(stop), f"'stop' takes at most {MAX_STOPS} texts.")


def _head(prefix: str, deployment: Deployment, options: StreamOptions | None) -> StreamHead:
    asked = options is not None and bool(options.include_usage)
    return StreamHead(new_id(prefix), int(time.time()), deployment.name, asked)
