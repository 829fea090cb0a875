"""The raw engine in process, the limit: the pipeline that the `openvino` engine makes, and a loop.

python -m bench.raw_openvino FILE THREADS      one `Order` as JSON per line in, one `Outcome` out

No worker, no socket, no HTTP. Prompts are rendered and tokenised, answers turned into text at
their end: what any use of the engine has to do.
"""

import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import openvino as ov
import openvino_genai as genai
from msgspec import Struct
from openvino_genai.py_openvino_genai import GenerationHandle

from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.engines.openvino.model import LoadedModel
from zaffre.engines.openvino.options import load_order
from zaffre.engines.openvino.wire import Conversation


class Order(Struct, frozen=True):
    """Callers that each ask their prompts one after the other, all at the same time."""

    callers: list[list[list[dict[str, str]]]]
    """Caller -> turn -> messages."""
    max_tokens: int


class Outcome(Struct, frozen=True):
    """What came of an order."""

    elapsed_s: float
    tokens: int
    first_ms: list[float]
    """Of each answer."""


class _Caller:
    """One caller's turns, the current one running in the pipeline."""

    def __init__(self, number: int, turns: list[list[dict[str, str]]]) -> None:
        self.number = number
        self.turns = turns
        self.handle: GenerationHandle | None = None
        self.ids: list[int] = []
        self.asked_s = 0.0
        self.first_s: float | None = None


class RawEngine:
    """A pipeline and nothing around it."""

    def __init__(self, path: Path, threads: int) -> None:
        card = ModelCard(name="raw", format="gguf", operations=("chat",), context_length=8192)
        spec = EngineSpec(card=card, path=str(path), threads=threads)
        self._model = LoadedModel(load_order(spec))
        self._count = 0

    def run(self, order: Order) -> Outcome:
        """Do it all."""
        began_s = time.perf_counter()
        callers = [_Caller(n, list(turns)) for n, turns in enumerate(order.callers)]
        firsts: list[float] = []
        tokens = 0
        for caller in callers:
            self._ask(caller, order.max_tokens)
        while self._model.pipeline.has_non_finished_requests():
            self._model.pipeline.step()
            for caller in callers:
                if caller.handle is not None and self._read(caller):
                    tokens += len(caller.ids)
                    firsts.append(((caller.first_s or 0) - caller.asked_s) * 1000)
                    self._model.decode(tuple(caller.ids))
                    self._ask(caller, order.max_tokens)
        return Outcome(time.perf_counter() - began_s, tokens, firsts)

    def _ask(self, caller: _Caller, max_tokens: int) -> None:
        """The caller's next turn; none when it has had all."""
        caller.handle = None
        if not caller.turns:
            return
        caller.asked_s, caller.first_s, caller.ids = time.perf_counter(), None, []
        rendered = self._model.render(Conversation(list(caller.turns.pop(0))))
        ids = self._model.encode_rendered(rendered)
        config = genai.GenerationConfig()
        config.apply_chat_template = False
        config.ignore_eos = True
        config.max_new_tokens = max_tokens
        self._count += 1
        tensor = ov.Tensor(np.array([ids], dtype=np.int64))
        caller.handle = self._model.pipeline.add_request(self._count, tensor, config)

    def _read(self, caller: _Caller) -> bool:
        """Take what the last step brought; whether that was the end."""
        ended = False
        handle = caller.handle
        while handle is not None and handle.can_read():
            for output in handle.read().values():
                caller.ids += output.generated_ids
                ended = output.finish_reason != genai.GenerationFinishReason.NONE
            if caller.first_s is None:
                caller.first_s = time.perf_counter()
        return ended


def main(file: str, threads: str) -> None:
    """Follow orders until there are no more."""
    engine = RawEngine(Path(file), int(threads))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        outcome = engine.run(msgspec.json.decode(line, type=Order))
        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
