"""Foreign servers that follow a script, a clock that is set by hand, and pools over them."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from zaffre.core.calls import (
    ChatCall,
    EmbedCall,
    GenerationCall,
    ImageEmbedCall,
    TextPart,
    UserMessage,
)
from zaffre.core.deltas import Batches, Delta, Embeddings, Finish, TextDelta, Usage
from zaffre.core.engine import Health
from zaffre.core.errors import EngineFailed
from zaffre.core.plan import Upstream
from zaffre.upstream.foreign.capabilities import Probed
from zaffre.upstream.pool import Chance, PoolRules, UpstreamPool

HELLO = ChatCall(messages=(UserMessage((TextPart("Hello"),)),))
Answer = Sequence[Delta | Exception]


class Clock:
    """Shows what it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedServer:
    """Gives each call the next answer, and the last one for ever."""

    def __init__(self, name: str) -> None:
        self.place = f"https://{name}.example"
        self.asked = 0
        self.closed = False
        self.probed: Probed | Exception = Probed()
        self._name = name
        self._answers: deque[Answer] = deque([self._good()])

    def will(self, *answers: Answer | Exception) -> None:
        self._answers = deque([a] if isinstance(a, Exception) else a for a in answers)

    def works(self) -> None:
        self.will(self._good())

    def _good(self) -> Answer:
        return [TextDelta(self._name), Finish("stop"), Usage(1, 1)]

    async def stream(self, call: GenerationCall) -> Batches:
        self.asked += 1
        for step in self._answers.popleft() if len(self._answers) > 1 else self._answers[0]:
            if isinstance(step, Exception):
                raise step
            yield [step]

    async def answer(self, call: GenerationCall) -> list[Delta]:
        return [delta async for batch in self.stream(call) for delta in batch]

    async def embed(self, call: EmbedCall) -> Embeddings:
        await self.answer(HELLO)
        return Embeddings((self._name.encode(),), Usage(1))

    async def embed_images(self, call: ImageEmbedCall) -> Embeddings:
        return await self.embed(EmbedCall(()))

    async def health(self) -> Health:
        return Health()

    async def probe(self) -> Probed:
        if isinstance(self.probed, Exception):
            raise self.probed
        return self.probed

    async def aclose(self) -> None:
        self.closed = True


class Scene:
    """A pool over scripted servers, by their names."""

    def __init__(
        self,
        rules: PoolRules | None = None,
        draw: Callable[[], float] | None = None,
        **servers: dict[str, Any],
    ) -> None:
        self.clock = Clock()
        self.servers = {name: ScriptedServer(name) for name in servers}
        self.pool = UpstreamPool(
            "m",
            [Upstream(url=f"https://{name}.example", **fields) for name, fields in servers.items()],
            {},
            rules=rules,
            chance=Chance(self.clock, draw or (lambda: 0.0)),
            open_client=lambda upstream, _, __: self.servers[upstream.url[8:].partition(".")[0]],
        )

    def __getitem__(self, name: str) -> ScriptedServer:
        return self.servers[name]

    async def chat(self) -> str:
        """Who answers."""
        return "".join(
            [
                delta.text
                async for batch in self.pool.stream(HELLO)
                for delta in batch
                if isinstance(delta, TextDelta)
            ]
        )

    async def outcome(self) -> str:
        """Who answers, or what the error is called."""
        try:
            return await self.chat()
        except Exception as error:  # noqa: BLE001 - its name is the outcome
            return type(error).__name__

    def states(self) -> list[str]:
        return [status.state for status in self.pool.statuses()]


def broken(text: str = "It broke.") -> EngineFailed:
    return EngineFailed(text)
