"""The worker's side of the runner process: starts it, talks to it, and replaces it when it dies."""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import cast

from msgspec import structs

from zaffre.core.engine import Health
from zaffre.core.errors import EngineFailed, InvalidRequest, ModelUnavailable, ZaffreError
from zaffre.engines.openvino.wire import (
    Broken,
    Cancel,
    Event,
    Frames,
    Freed,
    Generate,
    Load,
    Ready,
    Unloadable,
    frame,
)

STOP_TIMEOUT_S = 5.0
"""From hanging up until the runner is killed."""
MOST_FUTILE_STARTS = 3
"""Runners in a row that end before they have done anything; then it is for others to try."""
_RETRY_AFTER_S = 5
log = logging.getLogger("zaffre.openvino")

Sink = Callable[[Event | ZaffreError], None]
"""Takes what happens to one generation; an error is the last thing that happens."""


class RunnerProcess:
    """Runs generations in a process of its own.

    When the process dies, everything in flight fails with `EngineFailed`, and another one is
    started; until that is ready, new generations raise `ModelUnavailable`. After
    `MOST_FUTILE_STARTS` it gives up, which `ended` tells.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._sinks: dict[int, Sink] = {}
        self._held: set[int] = set()
        self._next_id = 1
        self._line: _Line | None = None
        self._ready = False
        self._process: asyncio.subprocess.Process | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._futile = 0
        self._cause: str | None = None
        self._given_up = asyncio.Event()
        self._closed = False

    async def start(self) -> Ready:
        """Start the process and load the model. Raises `EngineFailed` when it cannot be loaded."""
        if find_spec("openvino_genai") is None:
            raise EngineFailed("The engine needs 'openvino_genai': pip install 'zaffre[openvino]'.")
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "zaffre.engines.openvino.runner",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._line = line = _Line(self._take)
        await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=ours)
        line.send(self._load)
        try:
            ready = await self._loaded(line, self._process)
        except EngineFailed:
            line.close()
            raise
        self._ready = True
        line.lost.add_done_callback(self._on_lost)
        return ready

    def health(self) -> Health:
        """How many generations the pipeline holds, and how many of them it has no slot for."""
        active = min(len(self._held), self._load.slots)
        return Health(active, len(self._held) - active)

    async def ended(self) -> str:
        """Wait until it has given up; the cause."""
        await self._given_up.wait()
        return self._cause or "The engine's process cannot be kept alive."

    def begin(self, order: Generate, sink: Sink) -> int:
        """Start a generation; `sink` gets its events. Returns the id it was given.

        Raises `ModelUnavailable` while the model is loaded again, and `InvalidRequest` for numbers
        that cannot be passed on.
        """
        if self._line is None or not self._ready:
            if self._closed or self._restarting is None:
                raise EngineFailed("The engine is not running.")
            raise ModelUnavailable("The model is being loaded again.", _RETRY_AFTER_S)
        number = self._next_id
        try:
            self._line.send(structs.replace(order, id=number))
        except OverflowError as error:
            raise InvalidRequest("A number in the request has more than 64 bits.") from error
        self._next_id += 1
        self._sinks[number] = sink
        self._held.add(number)
        return number

    def cancel(self, number: int) -> None:
        """Stop a generation, if it is still going on; its sink gets nothing more."""
        if self._sinks.pop(number, None) is not None and self._line is not None:
            self._line.send(Cancel(number))

    def end(self, number: int) -> None:
        """Stop a generation, if it is still going on; its sink still gets what is left to say."""
        if number in self._sinks and self._line is not None:
            self._line.send(Cancel(number))

    async def aclose(self) -> None:
        """End the process; what is in flight fails."""
        self._closed = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        self._fail_all(EngineFailed("The engine was stopped."))
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            await _ended(self._process)

    async def _loaded(self, line: "_Line", process: asyncio.subprocess.Process) -> Ready:
        try:
            first = await line.first
        except EngineFailed:
            raise EngineFailed(f"Loading the model ended {await _ended(process)}.") from None
        if isinstance(first, Ready):
            return first
        await _ended(process)
        reason = first.message if isinstance(first, Unloadable) else "it said something else"
        raise EngineFailed(f"OpenVINO cannot load the model: {reason}")

    def _take(self, event: Event) -> None:
        """Hand an event to whom it concerns."""
        match event:
            case Freed(id=number):
                self._held.discard(number)
                self._sinks.pop(number, None)
                self._futile = 0
            case Broken(message=message):
                self._fail_all(EngineFailed(f"The engine broke: {message}"))
            case Ready() | Unloadable():
                pass
            case _ if event.id in self._sinks:
                self._sinks[event.id](event)
            case _:
                pass  # cancelled a moment ago

    def _on_lost(self, _lost: asyncio.Future[None]) -> None:
        self._ready = False
        if self._closed:
            return
        self._fail_all(EngineFailed("The engine's process died."))
        self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        while not self._ready:
            if self._process is not None:
                self._cause = f"The engine's process ended {await _ended(self._process)}."
            if self._futile == MOST_FUTILE_STARTS:
                log.error("the runner is not started again: %s", self._cause)
                self._given_up.set()
                return
            log.warning("the runner is started again: %s", self._cause)
            await asyncio.sleep(2.0**self._futile - 1)
            self._futile += 1
            try:
                await self.start()
            except EngineFailed as failure:
                log.error("%s", failure.message)
                self._cause = failure.message
                self._process = None
        self._restarting = None

    def _fail_all(self, failure: ZaffreError) -> None:
        sinks, self._sinks = self._sinks, {}
        self._held.clear()
        for sink in sinks.values():
            sink(failure)


class _Line(asyncio.Protocol):
    """The worker's end of the line."""

    def __init__(self, take: Callable[[Event], None]) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[Event] = loop.create_future()
        """The first event; `EngineFailed` when the line closes before."""
        self.lost: asyncio.Future[None] = loop.create_future()
        self._frames: Frames[Event] = Frames(Event)  # type: ignore[arg-type]
        self._take = take
        self._transport: asyncio.WriteTransport | None = None

    def send(self, command: Load | Generate | Cancel) -> None:
        """Tell the runner."""
        if self._transport is not None:
            self._transport.write(frame([command]))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are no subclasses of asyncio's: isinstance() would say no.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        for event in self._frames.push(data):
            if not self.first.done():
                self.first.set_result(event)
            self._take(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self.first.done():
            self.first.set_exception(EngineFailed("The line closed."))
        self.lost.set_result(None)


async def _ended(process: asyncio.subprocess.Process) -> str:
    """How the process ended, after a while by force."""
    try:
        code = await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        code = await process.wait()
    return f"by signal {-code}" if code < 0 else f"with code {code}"
