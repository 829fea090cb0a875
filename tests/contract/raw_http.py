"""Raw HTTP: what goes over the wire and what comes back, byte for byte."""

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMIT_S = 20
"""Nothing in the contract tests takes this long, unless it hangs."""
VERSION = "?api-version=2024-05-01-preview"
CHAT = f"/chat/completions{VERSION}"
COMPLETIONS = f"/completions{VERSION}"
EMBEDDINGS = f"/embeddings{VERSION}"
IMAGES = f"/images/embeddings{VERSION}"
INFO = f"/info{VERSION}"

Headers = Mapping[str, str]
PASS = {"extra-parameters": "pass-through"}


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order they came."""
    body: bytes
    whole: bool = True
    """Whether the response came to its proper end."""

    def header(self, name: str) -> str | None:
        """The value of a header, which must not be there twice."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body, which must be strict JSON and say so."""
        assert self.header("content-type") == "application/json", self.headers
        return json.loads(self.body, parse_constant=_no_constant)

    @property
    def error(self) -> dict[str, Any]:
        """The body of a refusal: the `error` object first, then the flat fields (section 8.1)."""
        body = self.json
        assert list(body)[:4] == ["error", "status", "code", "message"]
        assert body["error"]["code"] == body["code"] == self.header("x-ms-error-code")
        assert body["error"]["message"] == body["message"]
        assert body["error"]["status"] == body["status"] == self.status
        assert (self.header("retry-after") is not None) == (self.status in (429, 503))
        return body

    @property
    def payloads(self) -> list[bytes]:
        """The events of a stream, held against the only form that azure-ai-inference parses."""
        assert self.status == 200, self.body
        assert self.header("content-type") == "text/event-stream; charset=utf-8"
        assert self.body.endswith(b"\n\n")
        frames = self.body[:-2].split(b"\n\n")
        assert all(f.startswith(b"data: ") and b"\n" not in f and b"\r" not in f for f in frames)
        return [frame[len(b"data: ") :] for frame in frames]

    @property
    def chunks(self) -> list[Any]:
        """The chunks of a stream that ended as it should."""
        *chunks, end = self.payloads
        assert end == b"[DONE]"
        assert self.whole
        return [json.loads(chunk) for chunk in chunks]


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@dataclass(frozen=True)
class Door:
    """A server's address and key."""

    port: int
    key: str

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Headers | None = None,
        *,
        key: str | None = "",
    ) -> Answer:
        """Send one request on a connection of its own, with the key unless `key` says otherwise."""
        shown = self.key if key == "" else key
        own = {"api-key": shown} if shown is not None else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        with contextlib.closing(connection):
            connection.request(method, target, body, {**own, **(headers or {})})
            return read_answer(connection)

    def get(self, target: str, headers: Headers | None = None) -> Answer:
        """GET with the key."""
        return self.call("GET", target, None, headers)

    def post(self, target: str, body: Any, headers: Headers | None = None) -> Answer:
        """POST JSON (or bytes as they are) with the key, as the SDKs label it."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call(
            "POST", target, content, {"content-type": "application/json", **(headers or {})}
        )

    def chat(
        self, said: str = "one two three", headers: Headers | None = None, **body: Any
    ) -> Answer:
        """Say something to the model that echoes, with whatever else the body should have."""
        messages = body.pop("messages", [{"role": "user", "content": said}])
        return self.post(CHAT, {"messages": messages, **body}, headers)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)

    def talk(self, sent: bytes) -> bytes:
        """Send bytes as they are; all that comes back until the server ends the connection."""
        with contextlib.closing(self.connect()) as bare:
            bare.sendall(sent)
            return read_to_end(bare)


def read_answer(connection: http.client.HTTPConnection) -> Answer:
    """The next response on `connection`, whole or cut off."""
    response = connection.getresponse()
    whole = True
    try:
        body = response.read()
    except http.client.IncompleteRead as cut:
        body, whole = cut.partial, False
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Answer(response.status, headers, body, whole)


def read_to_end(bare: socket.socket) -> bytes:
    """What is still to come on a connection, which must end by itself."""
    pieces = []
    while piece := bare.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)
