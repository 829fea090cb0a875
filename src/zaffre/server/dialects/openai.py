"""The OpenAI family: OpenAI v1, and Azure OpenAI deployments.

In v1 the body names the model, on a deployment the path does. Everything else is the same, but for
the words of a few errors.
"""

import time
from typing import TypeVar

from msgspec import structs

from zaffre.asgi.exchange import EVENT_STREAM, JSON, Send, send_stream, send_whole
from zaffre.core.calls import Operation
from zaffre.core.context import Context
from zaffre.core.errors import InvalidParameter, InvalidRequest, UnsupportedParameter
from zaffre.routing.table import Route, Selector
from zaffre.server.dialects.common import SESSION_HEADER, named_deployment, unknown_keys
from zaffre.server.dialects.filter_results import annotate
from zaffre.server.dialects.model_entries import model_entry
from zaffre.server.dialects.openai_stream import StreamHead, chat_frames, new_id, text_frames
from zaffre.server.request import Request
from zaffre.service.gateway import Gateway, Stream
from zaffre.translation import answers
from zaffre.translation.chat_requests import read_chat
from zaffre.translation.other_requests import read_completion, read_embedding
from zaffre.wire import codec, sse
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
        self.dialect = "azure-openai" if azure else "openai"
        """What the ledger calls it."""
        self._default_model = default_model

    async def chat(self, request: Request, body: bytes, send: Send) -> None:
        """POST /chat/completions."""
        parsed = read_known(body, ChatRequest)
        _check_stops(parsed.stop)
        if (parsed.top_logprobs or 0) > MAX_TOP_LOGPROBS:
            raise InvalidParameter(
                ("top_logprobs",), parsed.top_logprobs, f"At most {MAX_TOP_LOGPROBS}."
            )
        context = request.context(self.dialect, stream=bool(parsed.stream))
        route = self.choose(request, context, parsed.model, "chat")
        call = read_chat(parsed, {})
        head = _head("chatcmpl-", route, parsed.stream_options)
        headers = self.headers(request, route)
        if context.stream:
            async with self._gateway.streaming(context, route, call) as stream:
                frames = chat_frames(stream.batches, self._shown(head, stream))
                await send_stream(send, [EVENT_STREAM, *headers], frames, sse.END)
            return
        answered = await self._gateway.answer(context, route, call)
        response = answers.write_chat_answer(answered.answer)
        if self._azure:
            annotate(response, answered.report)
        response.id, response.created, response.model = head.id, head.created, head.model
        response.object = "chat.completion"
        await send_whole(send, 200, [JSON, *headers], codec.encode(response))

    async def complete(self, request: Request, body: bytes, send: Send) -> None:
        """POST /completions."""
        parsed = read_known(body, CompletionRequest)
        _check_stops(parsed.stop)
        context = request.context(self.dialect, stream=bool(parsed.stream))
        route = self.choose(request, context, parsed.model, "complete")
        if parsed.max_tokens is None:
            parsed.max_tokens = DEFAULT_COMPLETION_TOKENS
        call = read_completion(parsed, {})
        head = _head("cmpl-", route, parsed.stream_options)
        headers = self.headers(request, route)
        if context.stream:
            async with self._gateway.streaming(context, route, call) as stream:
                frames = text_frames(stream.batches, self._shown(head, stream))
                await send_stream(send, [EVENT_STREAM, *headers], frames, sse.END)
            return
        answered = await self._gateway.answer(context, route, call)
        response = answers.write_text_answer(answered.answer)
        if self._azure:
            annotate(response, answered.report)
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
        context = request.context(self.dialect)
        route = self.choose(request, context, parsed.model, "embed")
        call = read_embedding(parsed, {})
        if "" in call.texts:
            raise InvalidParameter(("input",), "", "'input' must not have an empty string.")
        vectors = await self._gateway.embed(context, route, call)
        response = answers.write_embeddings(vectors, encoding)
        response.model = route.deployment.name
        headers = [JSON, *self.headers(request, route)]
        await send_whole(send, 200, headers, codec.encode(response))

    async def models(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models."""
        listed = self._gateway.listed(request.context(self.dialect), request.endpoint)
        entries = ModelList([model_entry(name, deployment) for name, deployment in listed])
        await send_whole(send, 200, [JSON, *request.answer_headers()], codec.encode(entries))

    async def model(self, request: Request, _body: bytes, send: Send) -> None:
        """GET /models/{id}."""
        selector = Selector(deployment=request.path_name, endpoint=request.endpoint)
        name, deployment = self._gateway.describe(request.context(self.dialect), selector)
        body = codec.encode(model_entry(name, deployment))
        await send_whole(send, 200, [JSON, *request.answer_headers()], body)

    def choose(
        self, request: Request, context: Context, model: str | None, operation: Operation
    ) -> Route:
        """The route that the path (Azure) or the body (v1) names."""
        name = named_deployment(request) or (None if self._azure else model)
        if not name and not self._default_model and request.endpoint is None:
            raise InvalidRequest("You must provide a model parameter.", ("model",))
        if request.endpoint is not None:
            name = named_deployment(request)  # an endpoint is one model, whatever the body says
        selector = Selector(
            deployment=name or None,
            endpoint=request.endpoint,
            session=request.header(SESSION_HEADER),
        )
        return self._gateway.choose(context, selector, operation)

    def _shown(self, head: StreamHead, stream: Stream) -> StreamHead:
        """`head` with what this dialect shows of content safety."""
        return structs.replace(head, report=stream.report) if self._azure else head

    def headers(self, request: Request, route: Route) -> list[tuple[bytes, bytes]]:
        """The headers of an answer."""
        name = route.deployment.name.encode()
        return [*request.answer_headers(), (b"x-ms-deployment-name", name)]


def read_known(body: bytes, kind: type[Body]) -> Body:
    """The body's struct. Raises `InvalidRequest` for a key that would be ignored, and
    `UnsupportedParameter` for a value of one that may only say what is the case anyway.
    """
    if (plain := codec.decode_closed(body, kind)) is not None:
        return plain  # nearly always, and with one look at the body
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


def _head(prefix: str, route: Route, options: StreamOptions | None) -> StreamHead:
    asked = options is not None and bool(options.include_usage)
    return StreamHead(new_id(prefix), int(time.time()), route.deployment.name, asked)
