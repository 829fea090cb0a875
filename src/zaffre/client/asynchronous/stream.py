"""A streamed answer that cannot be taken for whole when it is not."""

from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from zaffre.client.errors import CutOff

ChunkT = TypeVar("ChunkT")


class AsyncStream(Generic[ChunkT]):
    """Iterates over the chunks of an answer, as they come.

    The request is sent when the first chunk is asked for. The iteration ends only when the server
    has said that the answer is whole. Otherwise it raises a `ClientError`, and `CutOff` when it is
    tried again: a stream that broke never looks as if it were whole.

    Leaving `async with`, or `aclose()`, ends the connection, and with it the work on the server.
    """

    def __init__(self, chunks: AsyncGenerator[ChunkT], text_of: Callable[[ChunkT], str]) -> None:
        self._chunks = chunks
        self._text_of = text_of
        self._state: Literal["open", "whole", "broken"] = "open"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChunkT:
        if self._state == "whole":
            raise StopAsyncIteration
        if self._state == "broken":
            raise CutOff("This stream was ended before it was whole.")
        # Until the chunk has come: an error or a cancellation now ends the stream for good.
        self._state = "broken"
        chunk = await anext(self._chunks, None)
        if chunk is None:
            self._state = "whole"
            raise StopAsyncIteration
        self._state = "open"
        return chunk

    async def texts(self) -> AsyncGenerator[str]:
        """The text of the first choice, piece by piece. Raises as iterating over chunks does."""
        async for chunk in self:
            if text := self._text_of(chunk):
                yield text

    async def aclose(self) -> None:
        """End the stream. Does nothing when it has ended by itself."""
        if self._state == "open":
            self._state = "broken"
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
