"""A mock upstream: OpenAI's chat API without a model, as cheap as it can be in Python.

python -m bench.mock PORT          JSON at once; streams of `max_tokens` tokens, 50 per second, or
                                   with `"temperature": 2` as fast as they go

Each token of a stream is the time at which it was sent, on the machine's monotonic clock, so that
a reader on the same machine knows how long it was under way.
"""

import asyncio
import sys
import time

import httptools
import msgspec
import uvloop

TOKENS_PER_S = 50
UNPACED = 2
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
CHUNK = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"mock","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
USAGE = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"mock","choices":[],"usage":{"prompt_tokens":60,"completion_tokens":%d,'
    b'"total_tokens":%d}}\n\n'
)
ANSWER = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"mock",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"The reading room opens at '
    b'nine and closes at six; on Tuesdays the committee meets there in the evening."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":21,'
    b'"total_tokens":81}}'
)
MODELS = b'{"object":"list","data":[{"id":"mock","object":"model"}]}'


class Asked(msgspec.Struct):
    """The part of a request that changes the answer."""

    stream: bool = False
    max_tokens: int = 64
    temperature: float = 0.0


class Connection(asyncio.Protocol):
    """One client."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._body = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        body, self._body = self._body, b""
        if self._parser.get_method() == b"GET":
            self._write(HEAD % len(MODELS) + MODELS)
            return
        asked = msgspec.json.decode(body, type=Asked)
        if not asked.stream:
            self._write(HEAD % len(ANSWER) + ANSWER)
            return
        role = CHUNK % (b'{"role":"assistant","content":""}', b"null")
        self._write(STREAM_HEAD + _chunked(role))
        pause_s = 0.0 if asked.temperature == UNPACED else 1 / TOKENS_PER_S
        self._speak(asked.max_tokens, asked.max_tokens, pause_s, self._loop.time())

    def _speak(self, left: int, tokens: int, pause_s: float, due_s: float) -> None:
        """Send a token and see to it that the next one follows; then the end."""
        if left == 0:
            end = CHUNK % (b"{}", b'"stop"') + USAGE % (tokens, 60 + tokens) + b"data: [DONE]\n\n"
            self._write(_chunked(end) + b"0\r\n\r\n")
            return
        said = b'{"content":"%.6f "}' % time.monotonic()
        self._write(_chunked(CHUNK % (said, b"null")))
        due_s += pause_s
        self._timer = self._loop.call_at(due_s, self._speak, left - 1, tokens, pause_s, due_s)

    def _write(self, content: bytes) -> None:
        self._transport.write(content)  # type: ignore[attr-defined] # uvloop's own class


def _chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
