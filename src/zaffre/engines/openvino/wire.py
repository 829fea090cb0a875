"""What the `openvino` engine and its runner process tell each other, over a pair of sockets.

The library keeps Python's interpreter lock during a whole `step()`, so the pipeline runs in a
process of its own: in the worker's it would stop the worker's event loop for seconds.
"""

import select
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from zaffre.core.calls import Sampling
from zaffre.core.deltas import FinishReason, TokenLogprob
from zaffre.core.errors import EngineFailed

_LENGTH = struct.Struct(">I")
_READ_BYTES = 256 * 1024
MAX_FRAME_BYTES = 1 << 30
"""A frame holds one prompt, or what one step produced; the worker bounds request bodies."""


class Load(Struct, tag="load", frozen=True, kw_only=True):
    """Load a model; the first command."""

    path: str
    device: str
    threads: int
    slots: int
    cache_size_gb: int
    """Memory for keys and values, taken as they are needed."""
    prefix_cache: bool
    """Whether what earlier requests have left is used by later ones."""
    batch_tokens: int
    """Tokens computed in one step."""
    context_length: int
    """Tokens of prompt and answer; the runner lowers it to what tokenizer and cache allow."""
    stop_token_ids: tuple[int, ...]
    """Tokens that end an answer, besides those that the library finds in the files."""
    chat_template: str | None
    converted: str | None
    """Folder for the model as OpenVINO IR, written at the first start and read at the next."""
    sees: bool = False
    """Whether the model takes pictures; then the library takes no prompt but as text."""


class Picture(Struct, frozen=True):
    """A decoded image: rows of pixels, each three bytes of red, green and blue."""

    width: int
    height: int
    pixels: bytes


class Conversation(Struct, tag="conversation", frozen=True):
    """Messages and tools as chat templates take them."""

    messages: list[dict[str, Any]]
    """With pictures, the content of a message is a list: `{"type": "text", "text": ...}`, and
    `{"type": "image"}` for the next of `pictures`."""
    tools: list[dict[str, Any]] = []
    pictures: tuple[Picture, ...] = ()
    variables: dict[str, str | bool] = {}
    """More that the template may look at."""


class Text(Struct, tag="text", frozen=True):
    """A prompt as it is; special tokens in it count."""

    text: str


class TokenIds(Struct, tag="token_ids", frozen=True):
    """A prompt in the model's own tokens."""

    ids: tuple[int, ...]


Prompt = Conversation | Text | TokenIds


class Generate(Struct, tag="generate", frozen=True, kw_only=True):
    """Continue a prompt, once. `sampling.n` is not looked at."""

    id: int
    prompt: Prompt
    sampling: Sampling
    seed: int
    max_tokens: int
    grammar: str | None = None
    """EBNF that the answer is decoded under."""
    call_grammar: str | None = None
    """EBNF of what stands between the marks of a tool call, wherever the answer opens one."""
    wants_prompt: bool = False
    """Whether `Accepted` shall carry the prompt as text."""


class Cancel(Struct, tag="cancel", frozen=True):
    """Stop a generation and free its slot. Unknown ids are those that have just ended."""

    id: int


Command = Load | Generate | Cancel


class Ready(Struct, tag="ready", frozen=True):
    """The model is loaded."""

    context_length: int
    vocabulary_size: int
    chat_template: str
    """Empty when the model has none."""
    sentencepiece: bool
    """Of which kind the vocabulary is, which grammars have to know."""
    sees: bool = False
    """Whether conversations may have pictures."""


class Unloadable(Struct, tag="unloadable", frozen=True):
    """The model cannot be loaded; the runner ends."""

    message: str


class Accepted(Struct, tag="accepted", frozen=True):
    """A generation is in the pipeline."""

    id: int
    prompt_tokens: int | None
    """None where only the library can count them; then `Counted` follows before `Freed`."""
    prompt: str = ""
    thinking: bool = False
    """Whether the chat template has opened the model's thoughts already."""


class TooLong(Struct, tag="too_long", frozen=True):
    """A prompt leaves no room for an answer."""

    id: int
    tokens: int
    limit: int


class Refused(Struct, tag="refused", frozen=True):
    """The prompt cannot be taken, for a reason that lies in the request."""

    id: int
    message: str


class Failed(Struct, tag="failed", frozen=True):
    """A generation broke off for a reason that lies here."""

    id: int
    message: str


class Progress(Struct, tag="progress", frozen=True):
    """What a step added to a generation; with `finish` for the last time."""

    id: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None


class Counted(Struct, tag="counted", frozen=True):
    """How many tokens the prompt of a generation had, which has ended."""

    id: int
    prompt_tokens: int


class Freed(Struct, tag="freed", frozen=True):
    """A generation holds nothing in the pipeline any more; the last word about its id."""

    id: int


class Broken(Struct, tag="broken", frozen=True):
    """A step failed: everything in flight is lost, and the runner ends."""

    message: str


Event = (
    Ready | Unloadable | Accepted | TooLong | Refused | Failed | Progress | Counted | Freed | Broken
)
Message = TypeVar("Message")

_encoder = msgspec.msgpack.Encoder()


def frame(messages: Sequence[Command | Event]) -> bytes:
    """Several messages as one frame: four bytes of length, then MessagePack."""
    payload = _encoder.encode(messages)
    return _LENGTH.pack(len(payload)) + payload


class Frames(Generic[Message]):
    """Takes bytes as they come and gives whole messages, which are of type `kind`."""

    def __init__(self, kind: type[Message]) -> None:
        self._decoder = msgspec.msgpack.Decoder(list[kind])  # type: ignore[valid-type]
        self._held = bytearray()

    def push(self, content: bytes) -> list[Message]:
        """The messages that are complete now. Raises `EngineFailed` when there is no frame."""
        self._held += content
        messages: list[Message] = []
        while len(self._held) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._held)[0]
            if end > MAX_FRAME_BYTES:
                raise EngineFailed("The runner's stream is out of step.")
            if len(self._held) < end:
                break
            messages += self._decoder.decode(self._held[_LENGTH.size : end])
            del self._held[:end]
        return messages


class RunnerEnd:
    """The runner's end of the line: plain blocking calls, since it has nothing else to do."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._frames: Frames[Command] = Frames(Command)  # type: ignore[arg-type]
        self.closed = False
        """Whether the worker has hung up."""

    def receive(self, *, wait: bool) -> list[Command]:
        """The commands that have come; with `wait`, not before there is one, or the worker left."""
        commands: list[Command] = []
        while not self.closed and select.select([self._line], [], [], None if wait else 0)[0]:
            try:
                content = self._line.recv(_READ_BYTES)
            except ConnectionResetError:  # it left without reading everything
                content = b""
            self.closed = not content
            commands += self._frames.push(content)
            wait = wait and not commands
        return commands

    def send(self, events: Sequence[Event]) -> None:
        """Tell the worker; a worker that has left is found by the next `receive`."""
        if events and not self.closed:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._line.sendall(frame(events))
