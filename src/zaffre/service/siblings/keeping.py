"""Keeping: sibling processes are started, started again when they die, and stopped in order."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence

from zaffre.core.errors import ZaffreError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
"""A little more than a sibling's own drain; then it is killed."""
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 10.0
STABLE_S = 30.0
"""A sibling that lived this long starts with the first back-off again."""
LISTENING = b"listening\n"
"""What a sibling says on its standard output, once."""
log = logging.getLogger("zaffre.siblings")


class SiblingKeeper:
    """Keeps one sibling running until it is stopped.

    `command` starts one; `tell` makes what it reads on its standard input, from the name that this
    life of it has; `on_ended` gets that name when the life is over.
    """

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        *,
        listener: socket.socket,
        tell: Callable[[str], bytes],
        on_ended: Callable[[str], None],
    ) -> None:
        self._number = number
        self._command = command
        self._listener = listener
        self._tell = tell
        self._on_ended = on_ended
        self._lives = 0
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    async def tried(self) -> None:
        """Wait until it listens, or could not once."""
        await self._tried.wait()

    async def stop(self) -> None:
        """Let its requests in flight end, within a bound, and end it. May be called twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            began = loop.time()
            self._lives += 1
            name = f"{self._number}.{self._lives}"
            try:
                await self._live(name)
            except (ZaffreError, OSError, TimeoutError) as error:
                log.error("gateway %d did not start: %s", self._number, error)
            finally:
                self._on_ended(name)
                self._tried.set()
            if loop.time() - began > STABLE_S:
                backoff_s = FIRST_BACKOFF_S
            log.warning("gateway %d ended. Starting again in %.1f s.", self._number, backoff_s)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    async def _live(self, name: str) -> None:
        """Run the process to its end."""
        # A session of its own: Ctrl-C must reach the first process alone, which stops all in order.
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._listener.fileno(),),
            start_new_session=True,
            env=dict(os.environ),
        )
        try:
            await self._await_listening(process, self._tell(name))
            self._tried.set()
            await process.wait()
        finally:
            await asyncio.shield(_end(process))

    async def _await_listening(self, process: asyncio.subprocess.Process, told: bytes) -> None:
        if process.stdin is None or process.stdout is None:
            raise ZaffreError("It has no pipes.")
        process.stdin.write(told + b"\n")
        await process.stdin.drain()
        process.stdin.close()
        async with asyncio.timeout(START_TIMEOUT_S):
            if await process.stdout.readline() != LISTENING:
                raise ZaffreError("It ended before it listened; its own words are above.")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        log.warning("gateway process %d did not stop; killing it", process.pid)
        process.kill()
        await process.wait()
