"""The load generator: one process, one loop, no task per request; its own cost is reported.

python -m bench.load               takes a `Load` as JSON on standard input, prints a `Report`
"""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httptools
import msgspec
import uvloop
from msgspec import Struct

from bench.machine import pinned

SALT = b"@@@@@@@@"
"""In a body: replaced by a number that no other request of this load has, eight digits long."""
GRACE_S = 15.0
"""How long answers under way may take after the end; then they count as errors."""
CONNECT_TIMEOUT_S = 30.0
MAX_LOAD_S = 600.0
_FIRST = re.compile(rb'"content":\s*"[^"]')
_SENT = re.compile(rb'"content":\s*"(\d+\.\d{6}) "')
_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_ROOT = Path(__file__).parents[1]


class Load(Struct, frozen=True, kw_only=True):
    """What to ask for, and how often."""

    port: int
    path: str
    headers: dict[str, str] = {}
    bodies: tuple[str, ...]
    """Taken in turns."""
    callers: int = 1
    """Each asks again as soon as it has its answer."""
    duration_s: float = 3.0
    warmup_s: float = 0.5
    """What ends in this time at the start is not among the figures."""
    turns: int | None = None
    """Requests per caller; the load then ends with them, and has no warm-up."""
    spread_s: float = 0.0
    """The callers begin one after the other over this time."""
    first_salt: int = 0
    leave: bool = False
    """Go away at the end in the middle of answers, which then do not count as errors."""


class Centiles(Struct, frozen=True):
    """A distribution, in milliseconds."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    most: float = 0.0
    mean: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """What came of a load."""

    requests: int
    """All, those of the warm-up included."""
    errors: int
    first_error: str = ""
    elapsed_s: float
    """From the first request to the last answer."""
    per_s: float
    """Answers per second between warm-up and end."""
    latency_ms: Centiles
    first_ms: Centiles
    """Until the first piece of text of a stream."""
    gap_ms: Centiles
    """Between two pieces of network data of a stream."""
    delay_ms: Centiles
    """From the mock upstream, which writes the time into each token, to here."""
    chunks: int
    """Events of streams."""
    chunks_per_s: float
    tokens: int
    """As the answers' usage has it."""
    read_bytes: int
    cpu_s: float
    """Processor time of the generator itself."""


class _Tally:
    """What all connections have seen together."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.began_s = time.perf_counter()
        self.ended_s = self.began_s
        self.began_cpu_s = time.process_time()
        self.requests = self.errors = self.counted = self.chunks = self.counted_chunks = 0
        self.tokens = self.read_bytes = 0
        self.first_error = ""
        self.latency: list[float] = []
        self.first: list[float] = []
        self.gap: list[float] = []
        self.delay: list[float] = []
        self._salt = load.first_salt
        self._heads = [self._request(body.encode()) for body in load.bodies]

    def _request(self, body: bytes) -> bytes:
        headers = {"host": "127.0.0.1", "content-type": "application/json", **self.load.headers}
        lines = [f"POST {self.load.path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
        return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body

    def next_request(self) -> bytes:
        """A request that was not made before."""
        self._salt += 1
        text = self._heads[self._salt % len(self._heads)]
        return text.replace(SALT, b"%08d" % self._salt)

    def in_window(self, now_s: float) -> bool:
        """Whether what ends now is among the figures."""
        load = self.load
        since_s = now_s - self.began_s
        return load.turns is not None or load.warmup_s <= since_s <= load.duration_s

    def over(self) -> bool:
        """Whether nobody begins anew."""
        return self.load.turns is None and self.began_s + self.load.duration_s < time.perf_counter()

    def fail(self, why: str) -> None:
        """Count a request that did not work out."""
        self.errors += 1
        self.first_error = self.first_error or why[:300]


class _Caller(asyncio.Protocol):
    """A client that asks again and again, on one connection for as long as the server keeps it."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._left = tally.load.turns
        self._busy = self._answered = False
        self._request = b""
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._connecting: asyncio.Future[None] | None = None

    async def connect(self) -> None:
        """Open the connection; ask again what a closed one has lost."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._loop.create_connection(lambda: self, "127.0.0.1", self._tally.load.port)
        if self._busy:
            self._transport.write(self._request)  # type: ignore[attr-defined] # uvloop's own class

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self._fresh = True

    def begin(self) -> None:
        """Ask for the first time."""
        self._ask()

    def abort(self) -> None:
        """Give up on what is under way."""
        self._transport.abort()  # type: ignore[attr-defined]

    def _ask(self) -> None:
        tally = self._tally
        if tally.over() or self._left == 0:
            self._finish()
            return
        self._left = None if self._left is None else self._left - 1
        self._parser = httptools.HttpResponseParser(self)
        self._busy, self._first_s, self._last_s = True, 0.0, 0.0
        self._pieces: list[bytes] = []
        self._answered = False
        self._request = tally.next_request()
        self._asked_s = time.perf_counter()
        if self._transport.is_closing():
            self._reconnect()
        else:
            self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._tally.read_bytes += len(data)
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._tally.fail(f"no HTTP: {error}")
            self.abort()

    def on_body(self, piece: bytes) -> None:
        """Called by the parser."""
        events = piece.count(b"data:")
        if not events:
            self._pieces.append(piece)
            return
        self._read_events(piece, events)

    def _read_events(self, piece: bytes, events: int) -> None:
        tally, now_s = self._tally, time.perf_counter()
        tally.chunks += events
        counted = tally.in_window(now_s)
        tally.counted_chunks += events * counted
        if counted:
            if self._last_s:
                tally.gap.append(now_s - self._last_s)
            if sent := _SENT.search(piece):
                tally.delay.append(time.monotonic() - float(sent[1]))
        self._last_s = now_s
        if not self._first_s and _FIRST.search(piece):
            self._first_s = now_s
            if counted:
                tally.first.append(now_s - self._asked_s)
        if found := _TOKENS.search(piece):
            tally.tokens += int(found[1])

    def on_message_complete(self) -> None:
        """Called by the parser."""
        tally, now_s = self._tally, time.perf_counter()
        tally.requests += 1
        tally.ended_s = now_s
        self._busy = False
        body = b"".join(self._pieces)
        status = self._parser.get_status_code()
        if status != 200:
            tally.fail(f"{status}: {body.decode(errors='replace')}")
        elif tally.in_window(now_s):
            tally.counted += 1
            tally.latency.append(now_s - self._asked_s)
        if found := _TOKENS.search(body):
            tally.tokens += int(found[1])
        self._fresh = False
        # Not from inside the parser, which the next request replaces.
        self._loop.call_soon(self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self._busy or self._tally.load.leave:
            return
        if self._answered or self._fresh:
            self._tally.fail("the connection was lost in mid-answer")
            self._finish()
        else:  # closed before it was asked: llama.cpp does so after each stream
            self._reconnect()

    def _reconnect(self) -> None:
        self._connecting = asyncio.ensure_future(self._connect_again())

    async def _connect_again(self) -> None:
        try:
            await self.connect()
        except OSError as error:
            self._tally.fail(f"it takes no new connection: {error}")
            self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def generate(load: Load) -> Report:
    """Make the requests of `load`."""
    loop = asyncio.get_running_loop()
    # On connections that are open before: what is measured is a client that keeps its own.
    callers: list[_Caller] = []
    tally = _Tally(load)
    for _ in range(load.callers):
        caller = _Caller(tally)
        await caller.connect()
        callers.append(caller)
    tally.began_s = time.perf_counter()
    for number, caller in enumerate(callers):
        loop.call_later(load.spread_s * number / len(callers), caller.begin)
    grace_s = 0.0 if load.leave else GRACE_S
    limit_s = None if load.turns is not None else load.duration_s + grace_s
    await asyncio.wait([caller.done for caller in callers], timeout=limit_s)
    for caller in callers:
        caller.abort()
    await asyncio.sleep(0)
    return _report(tally)


def _report(tally: _Tally) -> Report:
    load = tally.load
    elapsed_s = tally.ended_s - tally.began_s
    window_s = elapsed_s if load.turns is not None else load.duration_s - load.warmup_s
    return Report(
        requests=tally.requests,
        errors=tally.errors,
        first_error=tally.first_error,
        elapsed_s=round(elapsed_s, 4),
        per_s=round(tally.counted / window_s, 2),
        latency_ms=centiles(tally.latency),
        first_ms=centiles(tally.first),
        gap_ms=centiles(tally.gap),
        delay_ms=centiles(tally.delay),
        chunks=tally.chunks,
        chunks_per_s=round(tally.counted_chunks / window_s, 1),
        tokens=tally.tokens,
        read_bytes=tally.read_bytes,
        cpu_s=round(time.process_time() - tally.began_cpu_s, 3),
    )


def centiles(seconds: Sequence[float]) -> Centiles:
    """The distribution of times."""
    if not seconds:
        return Centiles()
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 4)

    mean = round(sum(ordered) / len(ordered) * 1000, 4)
    return Centiles(len(ordered), at(0.5), at(0.9), at(0.95), at(0.99), at(1.0), mean)


def run(load: Load, *, cores: Sequence[int] = (), limit_s: float = MAX_LOAD_S) -> Report:
    """Make the requests of `load` in a process of its own, on `cores`, within `limit_s`.

    Raises `RuntimeError` when a request fails: a figure with errors in it says nothing.
    """
    with pinned(*cores):
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=msgspec.json.encode(load),
            capture_output=True,
            cwd=_ROOT,
            check=False,
            timeout=limit_s,
        )
    if done.returncode:
        raise RuntimeError(f"The load generator failed: {done.stderr.decode()[-2000:]}")
    report = msgspec.json.decode(done.stdout, type=Report)
    if report.errors:
        raise RuntimeError(f"{report.errors} requests failed: {report.first_error}")
    return report


def main() -> None:
    """One load."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    report = uvloop.run(generate(load))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
