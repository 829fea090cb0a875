"""llama.cpp's own HTTP server, in a process of its own, behind a socket of our own.

Why a process: the package `xllamacpp` holds Python's interpreter lock while it loads a model, an
assertion that fails in llama.cpp ends its process, and so does leaving it while it generates. Here
that costs the requests in flight; the next one starts llama.cpp again.
"""

import asyncio
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from zaffre.core.errors import (
    EngineFailed,
    InvalidRequest,
    Location,
    PromptTooLong,
    ZaffreError,
)
from zaffre.engines.llama.options import (
    BUILT_IN,
    KEY_VARIABLE,
    LlamaSettings,
    command_line,
)
from zaffre.engines.llama.wire import ErrorEnvelope, ServerError

POLL_S = 0.02
"""Between two looks at whether the model is loaded."""
STOP_TIMEOUT_S = 5.0
"""From the request to end until the process is killed."""
LAST_WORDS_S = 1.0
"""How long the cause of a lost connection may take to become known."""
MAX_EVENT_BYTES = 64 * 2**20
"""One event of a stream; the last one repeats the prompt."""
MAX_LOG_LINE_BYTES = 4096
KEPT_LOG_LINES = 20
log = logging.getLogger("zaffre.engines.llama.engine")

_CLOSED = "The engine is closed."
_LOST = (aiohttp.ClientError, OSError, RuntimeError)
"""What aiohttp raises when a connection breaks; the last one when it was broken from this side."""

T = TypeVar("T")


class LlamaServer:
    """Starts llama.cpp, speaks to it, and ends it."""

    def __init__(self, settings: LlamaSettings) -> None:
        self._settings = settings
        self._starting = asyncio.Lock()
        self._process: _Process | None = None
        self._closed = False

    async def start(self) -> None:
        """Load the model. Raises `EngineFailed` with llama.cpp's own words when it cannot be."""
        await self._running()

    async def aclose(self) -> None:
        """Close every connection, which ends what is being generated; then end the process."""
        self._closed = True
        async with self._starting:
            if self._process is not None:
                await self._process.end()
                self._process = None

    @property
    def pid(self) -> int | None:
        """The process that llama.cpp runs in now, if it does."""
        return None if self._process is None else self._process.pid

    async def get(self, path: str, answer: type[T]) -> T:
        """The answer to a GET."""
        return await self._ask("GET", path, None, answer, ())

    async def post(
        self, path: str, body: dict[str, Any], answer: type[T], location: Location = ()
    ) -> T:
        """The answer to a POST. A refusal raises `InvalidRequest` at `location`."""
        return await self._ask("POST", path, body, answer, location)

    async def stream(
        self, path: str, body: dict[str, Any], location: Location = ()
    ) -> AsyncGenerator[bytes, None]:
        """The JSON of each event of a stream. Closing the generator closes the connection.

        llama.cpp then stops generating and frees the slot.
        """
        process = await self._running()
        try:
            async with process.session.post(path, data=_encode(body)) as response:
                try:
                    if response.status != 200:
                        raise _refusal(response.status, await response.read(), location)
                    async for event in _events(response.content):
                        yield event
                finally:
                    response.close()
        except _LOST as lost:
            raise await self._lost(process) from lost

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None, answer: type[T], at: Location
    ) -> T:
        process = await self._running()
        content = None if body is None else _encode(body)
        try:
            async with process.session.request(method, path, data=content) as response:
                received = await response.read()
        except _LOST as lost:
            raise await self._lost(process) from lost
        if response.status != 200:
            raise _refusal(response.status, received, at)
        try:
            return msgspec.json.decode(received, type=answer)
        except msgspec.MsgspecError as error:
            raise EngineFailed(f"llama.cpp gave an odd answer to {path}: {error}.") from error

    async def _lost(self, process: "_Process") -> EngineFailed:
        return EngineFailed(_CLOSED) if self._closed else await process.lost()

    async def _running(self) -> "_Process":
        async with self._starting:
            if self._closed:
                raise EngineFailed(_CLOSED)
            if self._process is not None and self._process.alive:
                return self._process
            if self._process is not None:
                log.warning("llama.cpp is started again; %s", self._process.cause())
                await self._process.end()
            self._process = None
            self._process = await _Process.start(self._settings)
            return self._process


class _Process:
    """One run of llama.cpp: its process, its socket's folder and its log."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, key: str) -> None:
        self._folder, self._process = folder, process
        self._lines: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._first_error = ""
        self._ready = False
        # No connection is used twice: llama.cpp closes them when it likes, and a Unix socket costs
        # nothing to open.
        connector = aiohttp.UnixConnector(str(_socket(folder)), limit=0, force_close=True)
        self.session = aiohttp.ClientSession(
            "http://llama",
            connector=connector,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._follower = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, settings: LlamaSettings) -> "_Process":
        """Start llama.cpp and wait until the model is loaded."""
        folder = Path(tempfile.mkdtemp(prefix="zaffre-llama-"))  # mkdtemp makes it 0700
        template = None
        if settings.chat_template is not None:
            template = folder / "template.jinja"
            template.write_text(settings.chat_template)
        key = secrets.token_urlsafe(32)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "zaffre.engines.llama.tether",
            str(os.getpid()),
            *_program(settings),
            *command_line(settings, _socket(folder), template),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(key),
            start_new_session=True,  # Ctrl-C is for those who can end things in order
        )
        started = cls(folder, process, key)
        try:
            await started._await_ready()
        except BaseException:  # also when cancelled: no process may be left behind
            await asyncio.shield(started.end())
            raise
        return started

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    def cause(self) -> str:
        """Why the process ended, in its own words where it left any."""
        said = self._first_error if not self._ready else ""
        said = said or (self._lines[-1] if self._lines else "")
        code = self._process.returncode
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
        else:
            how = f"exit status {code}"
        return f"llama.cpp ended ({how}): {said}" if said else f"llama.cpp ended ({how})."

    async def lost(self) -> EngineFailed:
        """The error for a connection that broke."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await asyncio.shield(self._follower)
                await self._process.wait()
        if self.alive:
            return EngineFailed("The connection to llama.cpp broke.")
        return EngineFailed(self.cause())

    async def end(self) -> None:
        """Close the connections, then end the process."""
        await self.session.close()
        if self.alive:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._follower
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _await_ready(self) -> None:
        # As long as it takes: whoever starts a worker bounds its start.
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with self.session.get("/health") as response:
                    if response.status == 200:
                        self._ready = True
                        return
            if not self.alive:
                await self._follower
                raise EngineFailed(self.cause())
            await asyncio.sleep(POLL_S)

    async def _follow(self) -> None:
        """Read the log to its end: a full pipe would stop llama.cpp."""
        output = self._process.stdout
        rest = b""
        while output is not None and (chunk := await output.read(2**16)):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:MAX_LOG_LINE_BYTES]
            for line in lines:
                self._note(line.decode(errors="replace").strip())

    def _note(self, line: str) -> None:
        if not line:
            return
        log.debug("%s", line)
        self._lines.append(line)
        if not self._first_error and (" E " in line or "error" in line.lower()):
            # "0.00.078.115 E llama_model_load: error loading model: ..." without time and level
            self._first_error = line.rpartition(" E ")[2]


def _socket(folder: Path) -> Path:
    return folder / "llama.sock"  # llama.cpp knows a socket by the end of its name


def _program(settings: LlamaSettings) -> tuple[str, ...]:
    if settings.executable == BUILT_IN:
        return (sys.executable, "-m", "zaffre.engines.llama.loop")
    return (settings.executable,)


def _environment(key: str) -> dict[str, str]:
    """The process's variables, without those that would change what the command line says."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LLAMA_", "AIP_"))}
    # Without a backtrace, for which llama.cpp would call a debugger, the last line is the cause.
    return kept | {KEY_VARIABLE: key, "GGML_NO_BACKTRACE": "1"}


def _encode(body: dict[str, Any]) -> BytesIO:
    """A file, and no bytes: those with images are more than a connection takes at once."""
    try:
        return BytesIO(msgspec.json.encode(body))
    except UnicodeEncodeError as error:
        raise InvalidRequest("The request contains half of a surrogate pair.") from error


async def _events(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    held = bytearray()
    async for chunk in content.iter_any():
        held += chunk
        if len(held) > MAX_EVENT_BYTES:
            raise EngineFailed("llama.cpp sent an event of unbounded length.")
        *events, rest = held.split(b"\n\n")
        for event in events:
            # Lines that begin with a colon only keep the connection alive.
            field, _, value = bytes(event).partition(b": ")
            if field in {b"data", b"error"} and value != b"[DONE]":
                yield value if field == b"data" else b'{"error":' + value + b"}"
        held = bytearray(rest)


def _refusal(status: int, body: bytes, location: Location) -> ZaffreError:
    try:
        error = msgspec.json.decode(body, type=ErrorEnvelope).error
    except msgspec.MsgspecError:
        return EngineFailed(f"llama.cpp answered with the status {status}.")
    return refusal(status, error, location)


def refusal(status: int, error: ServerError, location: Location) -> ZaffreError:
    """What an error of llama.cpp means: the request's fault, or the engine's."""
    if error.type == "exceed_context_size_error":
        return PromptTooLong(error.n_prompt_tokens, error.n_ctx, location)
    if status == 400:
        return InvalidRequest(f"llama.cpp refused the request: {error.message}", location)
    return EngineFailed(f"llama.cpp failed: {error.message}")
