"""What the dialects share: root keys, and the style in which each one renders errors."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from msgspec import Raw

from zaffre.core.deltas import Batches, Delta, Usage
from zaffre.core.errors import (
    EngineFailed,
    InvalidRequest,
    InvalidToken,
    ModelContainerFailed,
    ZaffreError,
)
from zaffre.server.request import Request
from zaffre.wire import codec, sse
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

SESSION_HEADER = b"x-zaffre-session"
"""Requests that show the same value stay with one deployment while shares do not change."""
MAX_RETRY_AFTER_S = 300
MAX_REASON = 256
"""Characters of an engine's trouble in a header."""
_UNPRINTABLE = re.compile(r"[^ -~]")
Headers = list[tuple[bytes, bytes]]
Read = TypeVar("Read", ChatRequest, CompletionRequest, EmbeddingRequest, ImageEmbeddingRequest)


class ErrorStyle(Protocol):
    """How a dialect shows errors."""

    def render(self, error: ZaffreError) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an error before the first byte."""

    def render_event(self, error: ZaffreError, number: int) -> bytes:
        """The frame that tells of an error in mid-stream, after `number` other frames."""


async def framed(
    batches: Batches, frames_of: Callable[[Delta], list[bytes]]
) -> AsyncGenerator[bytes, None]:
    """A stream up to and with its end marker: `frames_of` each delta, in one piece per batch.

    Raises `EngineFailed` when the batches end before their `Usage`.
    """
    whole = False
    async with aclosing(batches):
        async for batch in batches:
            frames = [frame for delta in batch for frame in frames_of(delta)]
            whole = isinstance(batch[-1], Usage)
            if whole:
                frames.append(sse.END)
            if frames:
                yield b"".join(frames)
    if not whole:
        raise EngineFailed("The model's answer ended before it was complete.")


def challenge(error: ZaffreError) -> Headers:
    """What a 401 asks for (RFC 6750), and the service's own word for a bad token (contract 8.2)."""
    if not isinstance(error, InvalidToken):
        return [(b"www-authenticate", b"Bearer")]
    return [
        (b"www-authenticate", b'Bearer error="invalid_token"'),
        (b"x-ms-error-reason", b"Invalid JWT."),
    ]


def retry_after(error: ZaffreError) -> Headers:
    """When to try again. Clients sleep as long as they are told: for hours they are not."""
    seconds = error.retry_after_s
    if seconds is None or seconds > MAX_RETRY_AFTER_S:
        return []
    return [(b"retry-after", str(seconds).encode())]


def container_headers(error: ModelContainerFailed) -> Headers:
    """What a managed endpoint says about its model's failure (contract, section 8.2: 424)."""
    reason = _UNPRINTABLE.sub("?", error.message[:MAX_REASON]).encode("ascii")
    return [
        (b"ms-azureml-model-error-statuscode", b"500"),
        (b"ms-azureml-model-error-reason", reason),
    ]


def named_deployment(request: Request) -> str | None:
    """The deployment in path or header. Raises `InvalidRequest` when they name two."""
    path, header = request.path_name, request.header(b"azureml-model-deployment")
    if path and header and path.lower() != header.lower():
        raise InvalidRequest(
            f"The path names deployment '{path[:128]}' and the header azureml-model-deployment"
            f" '{header[:128]}'. Name one."
        )
    return path or header


def unknown_keys(root: dict[str, Raw], known: frozenset[str]) -> list[str]:
    """The root keys outside `known`; null means absent."""
    return [name for name, raw in root.items() if name not in known and bytes(raw) != b"null"]


def without_field(
    root: dict[str, Raw], names: list[str], kind: type[Read], ignored: frozenset[str]
) -> dict[str, object]:
    """The values of those `names` that `kind` has no field for and that are not `ignored`."""
    return {
        name: codec.decode_value(root[name])
        for name in names
        if name not in kind.__struct_fields__ and name not in ignored
    }
