"""The client of one foreign server: calls out in its dialect, regular deltas and vectors back."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import aiohttp
from msgspec import Struct, structs

from zaffre.core.calls import ChatCall, EmbedCall, GenerationCall, ImageEmbedCall, Operation
from zaffre.core.deltas import Batches, Delta, Embeddings
from zaffre.core.engine import Health
from zaffre.core.errors import (
    InvalidRequest,
    Overloaded,
    UnsupportedParameter,
    ZaffreError,
)
from zaffre.core.plan import Upstream
from zaffre.translation.chat_requests import write_chat
from zaffre.translation.other_requests import (
    write_completion,
    write_embedding,
    write_image_embedding,
)
from zaffre.upstream.foreign.answers import ChatReader, TextReader, read_vectors
from zaffre.upstream.foreign.capabilities import Probed, read_info, read_models
from zaffre.upstream.foreign.credential import Credential
from zaffre.upstream.foreign.dialects import Address, base_headers, request_headers
from zaffre.upstream.foreign.errors import read_foreign_error
from zaffre.upstream.foreign.images import media_type
from zaffre.upstream.foreign.wire import ForeignInfo, ForeignModels
from zaffre.upstream.transport import (
    KEEP_ALIVE_S,
    MAX_ANSWER_BYTES,
    MAX_VECTORS_BYTES,
    StreamReader,
    Transport,
    decode,
    noticing_reuse,
)
from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest, StreamOptions
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

T = TypeVar("T")
STALE_TRIES = 2
"""llama.cpp closes connections when it likes. Requests may be repeated: they change nothing."""
MAX_PROBE_BYTES = 8 * 1024 * 1024
"""A list of models with their capabilities."""


class _Habits(Struct, frozen=True):
    """What has been learned about one server from its refusals."""

    usage_in_streams: bool
    """Whether it knows `stream_options`."""
    new_max_tokens: bool = False
    """Whether it wants `max_completion_tokens`, as OpenAI's reasoning models do."""
    base64: bool = True
    """Whether it has vectors in base64, the exact and short form."""
    learned: int = 0
    """How much of this was not known at first."""

    def after(self, refusal: ZaffreError) -> "_Habits":
        """What to do from now on; unchanged when the refusal is about something else."""
        text, more = f"{refusal.message} {refusal.location}", self.learned + 1
        if self.usage_in_streams and ("stream_options" in text or "include_usage" in text):
            return structs.replace(self, usage_in_streams=False, learned=more)
        unknown = isinstance(refusal, UnsupportedParameter)
        if unknown and not self.new_max_tokens and "max_completion_tokens" in text:
            return structs.replace(self, new_max_tokens=True, learned=more)
        if self.base64 and "encoding_format" in text:
            return structs.replace(self, base64=False, learned=more)
        return self


_Request = ChatRequest | CompletionRequest | EmbeddingRequest | ImageEmbeddingRequest


class ForeignClient:
    """Speaks to one foreign server about one model. A `ModelClient`.

    Make it inside the event loop, of a declaration that has been checked. `name`: the model's name
    where the declaration has none.
    """

    def __init__(self, upstream: Upstream, name: str, credential: Credential | None) -> None:
        self.upstream = upstream
        self.calls = 0
        """Under way right now."""
        self._model = upstream.model or name
        self._address = Address(upstream, self._model)
        self._credential = credential
        self._habits = _Habits(usage_in_streams=upstream.dialect != "azure-inference")
        session = aiohttp.ClientSession(
            # The number of calls is the bound; waiting for a connection would hide it.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[noticing_reuse()],
            headers=base_headers(upstream.dialect, credential),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=upstream.connect_timeout_s,
                sock_connect=upstream.connect_timeout_s,
                sock_read=upstream.timeout_s,
            ),
        )
        self._transport = Transport(
            session,
            self._refuse,
            timeout_s=upstream.timeout_s,
            strict_end=False,
            stale_tries=STALE_TRIES,
        )

    @property
    def place(self) -> str:
        """Where it is, without anything secret."""
        return self._address.place

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def stream(self, call: GenerationCall) -> Batches:
        """See `zaffre.core.client.ModelClient`."""
        if isinstance(call, ChatCall):
            chat = write_chat(call, self._model, stream=True)
            return self._generate("chat", chat, ChatReader(call, self._credential))
        text = write_completion(call, self._model, stream=True)
        return self._generate("complete", text, TextReader(call, self._credential))

    async def answer(self, call: GenerationCall) -> list[Delta]:
        """See `zaffre.core.client.ModelClient`."""
        if isinstance(call, ChatCall):
            chat = write_chat(call, self._model, stream=False)
            chat_reader = ChatReader(call, self._credential)
            return await self._fetch("chat", chat, chat_reader.read_whole, MAX_ANSWER_BYTES)
        text = write_completion(call, self._model, stream=False)
        reader = TextReader(call, self._credential)
        return await self._fetch("complete", text, reader.read_whole, MAX_ANSWER_BYTES)

    async def embed(self, call: EmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        read = partial(read_vectors, call=call, credential=self._credential)
        return await self._fetch("embed", write_embedding(call, self._model), read)

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        """See `zaffre.core.client.ModelClient`."""
        request = write_image_embedding(call, self._model)
        for item, image in zip(request.input, call.inputs, strict=True):
            kind = media_type(image.image)
            item.image = f"data:{kind};base64,{item.image.partition(',')[2]}"
        read = partial(read_vectors, call=call, credential=self._credential)
        return await self._fetch("embed_images", request, read)

    async def health(self) -> Health:
        """How many calls are under way from here; what else the server does, it does not say."""
        return Health(active=self.calls)

    async def probe(self) -> Probed:
        """Ask the server what its model is. Raises `ZaffreError` when it cannot be asked."""
        match self.upstream.dialect:
            case "azure-openai":
                return Probed()  # it lists the vendor's models there, not the deployments
            case "openai":
                return await self._probe_list()
            case "azure-inference":
                url = self._address.beside("/info", {"model": self._model})
                content = await self._transport.fetch("GET", url, max_bytes=MAX_PROBE_BYTES)
                found = read_info(decode(content, ForeignInfo))
                try:
                    listed = await self._probe_list()
                except ZaffreError:  # Azure's own servers have no such list
                    return found
                return found if listed.record is None else listed

    async def _probe_list(self) -> Probed:
        url = self._address.beside("/models")
        content = await self._transport.fetch("GET", url, max_bytes=MAX_PROBE_BYTES)
        return read_models(decode(content, ForeignModels), self._model)

    async def _generate(
        self, operation: Operation, request: ChatRequest | CompletionRequest, reader: StreamReader
    ) -> Batches:
        with self._counted():
            habits, began, url = self._habits, False, self._address.of(operation)
            while True:
                self._fit(request, habits)
                headers = request_headers(self.upstream.dialect, request)
                answer = self._transport.stream(url, codec.encode(request), headers, reader)
                try:
                    async with aclosing(answer) as batches:
                        async for batch in batches:
                            if not began:
                                began = True
                                self._keep(habits)
                            yield batch
                    return
                except (InvalidRequest, UnsupportedParameter) as refusal:
                    better = habits.after(refusal)
                    if began or better == habits:
                        raise
                    habits = better

    async def _fetch(
        self,
        operation: Operation,
        request: _Request,
        read: Callable[[bytes], T],
        max_bytes: int = MAX_VECTORS_BYTES,
    ) -> T:
        """What `read` makes of the whole answer to `request`."""
        with self._counted():
            habits = self._habits
            while True:
                self._fit(request, habits)
                url, body = self._address.of(operation), codec.encode(request)
                headers = request_headers(self.upstream.dialect, request)
                fetching = self._transport.fetch("POST", url, body, headers, max_bytes=max_bytes)
                try:
                    result = read(await fetching)
                except (InvalidRequest, UnsupportedParameter) as refusal:
                    better = habits.after(refusal)
                    if better == habits:
                        raise
                    habits = better
                else:
                    self._keep(habits)
                    return result

    def _fit(self, request: _Request, habits: _Habits) -> None:
        """Put `request` into the form that this server takes."""
        if self.upstream.dialect == "azure-openai":
            request.model = None  # the path names it
        if isinstance(request, EmbeddingRequest | ImageEmbeddingRequest):
            request.encoding_format = "base64" if habits.base64 else "float"
            return
        asks = request.stream and habits.usage_in_streams
        request.stream_options = StreamOptions(include_usage=True) if asks else None
        if isinstance(request, ChatRequest) and habits.new_max_tokens:
            request.max_completion_tokens = request.max_completion_tokens or request.max_tokens
            request.max_tokens = None

    def _keep(self, habits: _Habits) -> None:
        """Only what helped is kept: a refusal may quote what a caller wrote."""
        if habits.learned > self._habits.learned:
            self._habits = habits

    def _counted(self) -> "_Counted":
        if self.calls >= self.upstream.max_calls:
            raise Overloaded("Too many requests for this model. Please retry after 1 second.")
        return _Counted(self)

    def _refuse(self, status: int, headers: Mapping[str, str], content: bytes) -> ZaffreError:
        return read_foreign_error(status, headers, content, self._credential)


class _Counted:
    """A call under way; a class because a generator would cost four times as much."""

    def __init__(self, client: ForeignClient) -> None:
        self._client = client

    def __enter__(self) -> None:
        self._client.calls += 1

    def __exit__(self, *_: object) -> None:
        self._client.calls -= 1
