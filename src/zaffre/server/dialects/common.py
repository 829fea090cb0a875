"""What the dialects share: root keys, and the style in which each one renders errors."""

from typing import Protocol, TypeVar

from msgspec import Raw

from zaffre.core.errors import ZaffreError
from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

Headers = list[tuple[bytes, bytes]]
Read = TypeVar("Read", ChatRequest, CompletionRequest, EmbeddingRequest, ImageEmbeddingRequest)


class ErrorStyle(Protocol):
    """How a dialect shows errors."""

    def render(self, error: ZaffreError) -> tuple[int, Headers, bytes]:
        """Status, headers and body of an error before the first byte."""

    def render_event(self, error: ZaffreError, number: int) -> bytes:
        """The frame that tells of an error in mid-stream, after `number` other frames."""


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
