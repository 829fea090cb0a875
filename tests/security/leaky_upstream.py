"""Somebody else's server of the worst kind: it repeats what it was told, wherever it can."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODES = ("answer", "blocked", "cut", "garbage", "prose", "refuse", "deny", "slow-down", "fail")
"""Its models: each goes wrong in its own way, but for the first."""


class LeakyUpstream:
    """Answers chats with `answer`, with `blocked` behind it, or as badly as its model is called."""

    def __init__(self, answer: str, blocked: str) -> None:
        self.answer, self.blocked = answer, blocked
        self.credentials: set[str] = set()
        """Those that came."""
        self.reached: set[tuple[str, bool]] = set()
        """The models that were asked, and whether for a stream."""
        self.port = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator["LeakyUpstream"]:
        """While it runs, on a free port of this machine."""
        upstream = self

        class Handler(_Handler):
            server_of_test = upstream

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_of_test: LeakyUpstream

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        asked = json.loads(self.rfile.read(length))
        credential = self.headers.get("authorization", "").removeprefix("Bearer ")
        prompt = str(asked["messages"][-1]["content"])
        upstream = self.server_of_test
        mode, stream = str(asked["model"]), bool(asked.get("stream"))
        upstream.credentials.add(credential)
        upstream.reached.add((mode, stream))
        answer = f"{upstream.answer} {upstream.blocked}" if mode == "blocked" else upstream.answer
        match mode:
            case "answer" | "blocked" if stream:
                self._stream(answer.split(" "), end="data: [DONE]\n\n")
            case "answer" | "blocked":
                self._send(200, _whole(answer))
            case "cut":
                self._stream(upstream.answer.split(" "), end=None)
            case "garbage":
                self._stream([], end=f'data: {{"choices": {upstream.answer} {prompt}\n\n')
            case "prose":
                self._send_bytes(200, f"<p>{upstream.answer} {prompt} {credential}".encode())
            case "refuse":
                self._send(400, _error(f"{credential} may not say {prompt}", "bad"))
            case "deny":
                self._send(401, _error(f"Incorrect API key: {credential} for {prompt}", "key"))
            case "slow-down":
                self._send(429, _error(f"{credential} said {prompt} too often", "rate"))
            case "fail":
                self._send(500, _error(f"It broke on {prompt}.", "server_error"))

    def _stream(self, words: list[str], end: str | None) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for word in words:
            choice = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}
            self._event({"choices": [choice]})
        if end is None:
            return
        if words:
            choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
            self._event({"choices": [choice], "usage": _USAGE})
        self.wfile.write(end.encode())

    def _event(self, chunk: dict[str, Any]) -> None:
        chunk |= {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _send(self, status: int, value: object) -> None:
        self._send_bytes(status, json.dumps(value).encode())

    def _send_bytes(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Tests read no log of it."""


_USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def _whole(answer: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": _USAGE,
    }


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "error", "code": code}}
