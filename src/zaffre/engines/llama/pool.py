"""The room for keys and values that all requests share, given out in order of arrival.

llama.cpp ends every request in flight when its shared cache overflows; so a request enters only
when there is room for all it may write.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TokenPool:
    """`size` tokens of room. Requests that find none wait; none overtakes another."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.active = 0
        """Requests that hold room."""

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return len(self._line)

    @asynccontextmanager
    async def take(self, tokens: int) -> AsyncIterator[None]:
        """Hold room for `tokens`, at most `size`, while the block runs."""
        await self._enter(tokens)
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._give_back(tokens)

    async def _enter(self, tokens: int) -> None:
        if not self._line and tokens <= self._free:
            self._free -= tokens
            return
        turn = asyncio.get_running_loop().create_future()
        place = (tokens, turn)
        self._line.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn had come in the same moment
                self._give_back(tokens)
            elif place in self._line:
                self._line.remove(place)
                self._admit()
            raise

    def _give_back(self, tokens: int) -> None:
        self._free += tokens
        self._admit()

    def _admit(self) -> None:
        while self._line and (self._line[0][1].done() or self._line[0][0] <= self._free):
            tokens, turn = self._line.popleft()
            if not turn.done():  # else it was cancelled, and does not know yet
                self._free -= tokens
                turn.set_result(None)
