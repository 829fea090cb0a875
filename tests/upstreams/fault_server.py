"""A server that does, byte for byte, what a test tells it: also what no server should do.

It waits for events, never for time: a stall lasts until the other side has left or the server ends.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MAX_HEAD_BYTES = 64 * 1024


class Then(Enum):
    """What happens between bytes."""

    STALL = "say nothing more"
    RESET = "reset the connection"
    CLOSE = "close the connection"


@dataclass
class Gate:
    """A place in an answer: the server says when it is there, and waits to be let on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


Step = bytes | Then | Gate


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FaultServer:
    """Answers each request with the next of the given answers, and the last one for ever."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self.connections = 0
        self.left = asyncio.Event()
        """Somebody has gone away during a stall."""
        self._answers: deque[Sequence[Step]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def will(self, *answers: Sequence[Step]) -> None:
        """What to answer from now on."""
        self._answers = deque(answers)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["FaultServer"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            while (asked := await _read_request(reader)) is not None:
                self.asked.append(asked)
                answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
                if not await self._say(answer, reader, writer):
                    return
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _say(
        self, answer: Sequence[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection may serve another request."""
        for step in answer:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case Gate():
                    step.reached.set()
                    await step.opened.wait()
                case Then.STALL:
                    await reader.read(1)  # nothing more will come but the end
                    self.left.set()
                    return False
                case Then.RESET:
                    bare = writer.get_extra_info("socket")
                    bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return False
                case Then.CLOSE:
                    return False
        return True


async def _read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)


def head(status: int = 200, **headers: str | int) -> bytes:
    """Status line and headers; underscores in names are dashes."""
    lines = [f"HTTP/1.1 {status} As told"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(
    body: Any, status: int = 200, content_type: str = "application/json", **headers: str | int
) -> list[Step]:
    """An answer in one piece; `body` is bytes, or becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    described = {"Content-Type": content_type, "Content-Length": len(content), **headers}
    return [head(status, **described) + content]


def chunk(content: bytes) -> bytes:
    """A piece of a chunked body; an empty one ends it."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


STREAM_HEAD = head(200, Content_Type="text/event-stream", Transfer_Encoding="chunked")


def event(body: Any) -> bytes:
    """One event, as a piece of a chunked body; `body` is bytes, or becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return chunk(b"data: " + content + b"\n\n")


END: list[Step] = [event(b"[DONE]") + chunk(b"")]


def said(text: str | None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of a chat."""
    content = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": {**content, **delta}, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}


USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
COUNTED = {"id": "x", "choices": [], "usage": USAGE}


def stream(*bodies: Any, end: Sequence[Step] = END) -> list[Step]:
    """A stream of events."""
    return [STREAM_HEAD, *(event(body) for body in bodies), *end]


def chat_answer(text: str = "Hi", **message: Any) -> dict[str, Any]:
    """The body of a whole chat."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": "stop",
    }
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": USAGE}


GOOD_STREAM = stream(said("Hi"), said(None, "stop"), COUNTED)
GOOD_ANSWER = whole(chat_answer())


def refusal(status: int, message: str = "No.", **more: Any) -> list[Step]:
    """An error in OpenAI's shape."""
    headers = {name: value for name, value in more.items() if name[0].isupper()}
    item = {name: value for name, value in more.items() if name not in headers}
    return whole({"error": {"message": message, **item}}, status, **headers)
