"""The runner process: one loop that owns an OpenVINO pipeline.

Started by the `openvino` engine as `python -m zaffre.engines.openvino.runner FD`, with FD one end
of a pair of sockets. One thread, no locks: commands are taken between two steps, so a cancelled
generation is out of the pipeline one step later. It ends when the other end of the line closes.
"""

import logging
import os
import signal
import socket
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino_genai.py_openvino_genai import GenerationHandle

from zaffre.core.calls import Sampling
from zaffre.engines.openvino.generation import Generation, generation_config
from zaffre.engines.openvino.model import LoadedModel, TemplateRefusedError
from zaffre.engines.openvino.seeing import (
    SeenPrompt,
    is_too_long,
    read_seen,
    reason_against,
)
from zaffre.engines.openvino.wire import (
    Accepted,
    Broken,
    Cancel,
    Conversation,
    Counted,
    Event,
    Failed,
    Freed,
    Generate,
    Load,
    Progress,
    Refused,
    RunnerEnd,
    Text,
    TokenIds,
    TooLong,
    Unloadable,
)
from zaffre.engines.text.thoughts import begins_inside

_MORE_THAN_ANY_PROMPT = 2**40
log = logging.getLogger("zaffre.openvino")


class Runner:
    """Runs what the worker asks for until it hangs up."""

    def __init__(self, model: LoadedModel, line: RunnerEnd) -> None:
        self._model, self._line = model, line
        self._running: dict[int, Generation] = {}
        self._cancelled: list[Generation] = []

    def warm_up(self) -> None:
        """Let the library make its kernels and read the vocabulary for grammars, once for all."""
        order = Generate(
            id=0,
            prompt=Text(self._model.decode((self._model.vocabulary.first,) * 8)),
            sampling=Sampling(temperature=0),
            seed=0,
            max_tokens=2,
            grammar='root ::= "{" [a-z]',
        )
        self._begin(order)
        while self._running:
            self._step()

    def run(self) -> None:
        """Take commands and step, until the worker hangs up or a step fails."""
        while not self._line.closed:
            busy = self._model.pipeline.has_non_finished_requests()
            events: list[Event] = []
            for command in self._line.receive(wait=not busy):
                match command:
                    case Generate():
                        events += self._begin(command)
                    case Cancel(id=number):
                        self._cancel(number)
                    case Load():
                        raise RuntimeError("A runner loads one model.")
            self._line.send(events)
            self._line.send(self._step())
        self._end()

    def _begin(self, order: Generate) -> list[Event]:
        """Put a generation into the pipeline, if its prompt can be taken."""
        try:
            return self._begin_seeing(order) if self._model.sees else self._begin_blind(order)
        except TemplateRefusedError as refusal:
            return [Refused(order.id, str(refusal)), Freed(order.id)]

    def _begin_blind(self, order: Generate) -> list[Event]:
        text, thinking = "", False
        match order.prompt:
            case Conversation() as conversation:
                rendered = self._model.render(conversation)
                thinking = begins_inside(rendered)
                ids = self._model.encode_rendered(rendered)
            case Text(text=text):
                ids = self._model.encode(text, start=True)
            case TokenIds(ids=given):
                ids = list(given)
                text = self._model.decode(given) if order.wants_prompt else ""
        ids = ids or [self._model.vocabulary.first]
        limit = self._model.context_length
        if len(ids) >= limit:
            return [TooLong(order.id, self._length(order, ids), limit), Freed(order.id)]
        accepted = Accepted(order.id, len(ids), text if order.wants_prompt else "", thinking)
        if order.max_tokens == 0:
            return [accepted, Progress(order.id, "", 0, finish="length"), Freed(order.id)]
        return [accepted, *self._add(order, ids)]

    def _add(self, order: Generate, ids: list[int]) -> list[Event]:
        config = generation_config(order, self._model.vocabulary)
        config.max_new_tokens = min(order.max_tokens, self._model.context_length - len(ids))
        try:
            handle = self._model.pipeline.add_request(
                order.id, ov.Tensor(np.array([ids], dtype=np.int64)), config
            )
        except RuntimeError as error:
            log.exception("a request was not taken")
            return [Failed(order.id, f"The engine did not take it: {error}"), Freed(order.id)]
        self._running[order.id] = Generation(order, handle, self._model.vocabulary)
        return []

    def _begin_seeing(self, order: Generate) -> list[Event]:
        """The same for a model that sees: the library tokenises, and counts when all is over."""
        prompt = read_seen(self._model, order.prompt)
        config = generation_config(order, self._model.vocabulary)
        limit = self._model.context_length
        config.max_length = limit
        try:
            handle = self._add_seen(order, prompt, config)
        except RuntimeError as error:
            if not is_too_long(error):
                return [Refused(order.id, reason_against(prompt, error)), Freed(order.id)]
            return [TooLong(order.id, self._count_seen(order, prompt), limit), Freed(order.id)]
        generation = Generation(order, handle, self._model.vocabulary, bound=order.max_tokens)
        accepted = Accepted(
            order.id, None, prompt.text if order.wants_prompt else "", begins_inside(prompt.text)
        )
        if order.max_tokens > 0:
            self._running[order.id] = generation
            return [accepted]
        generation.cancel()
        self._cancelled.append(generation)
        return [accepted, Progress(order.id, "", 0, finish="length")]

    def _add_seen(
        self, order: Generate, prompt: SeenPrompt, config: genai.GenerationConfig
    ) -> GenerationHandle:
        return self._model.pipeline.add_request(order.id, prompt.text, prompt.pictures, config)

    def _count_seen(self, order: Generate, prompt: SeenPrompt) -> int:
        """The length of a prompt that was refused for it: taken without a bound and dropped."""
        config = generation_config(order, self._model.vocabulary)
        config.max_length = _MORE_THAN_ANY_PROMPT
        handle = self._add_seen(order, prompt, config)
        generation = Generation(order, handle, self._model.vocabulary)
        generation.cancel()
        self._model.pipeline.step()
        return generation.prompt_tokens

    def _length(self, order: Generate, ids: list[int]) -> int:
        """The tokens of a prompt that is too long, which the tokenizer may have cut."""
        match order.prompt:
            case Conversation() as conversation:
                return self._model.count(self._model.render(conversation))
            case Text(text=text):
                return self._model.count(text)
            case TokenIds():
                return len(ids)

    def _cancel(self, number: int) -> None:
        generation = self._running.pop(number, None)
        if generation is not None:
            generation.cancel()
            self._cancelled.append(generation)

    def _step(self) -> list[Event]:
        """One step, and what it brought. The pipeline lets go of what was cancelled before it."""
        if self._model.pipeline.has_non_finished_requests():
            self._model.pipeline.step()
        events = [event for generation in self._cancelled for event in _released(generation)]
        self._cancelled = []
        for generation in list(self._running.values()):
            progress = generation.read()
            if progress is not None:
                events.append(progress)
            if generation.lost:
                events.append(Failed(generation.id, "The cache for keys and values is full."))
            if generation.cancelled:
                del self._running[generation.id]
                self._cancelled.append(generation)
            elif generation.ended or generation.lost:
                del self._running[generation.id]
                events += _released(generation)
        return events

    def _end(self) -> None:
        """Leave the pipeline empty: the library complains about what is left in it."""
        for number in list(self._running):
            self._cancel(number)
        self._step()


def _released(generation: Generation) -> list[Event]:
    """What is to be said when the pipeline has let go of a generation."""
    if generation.counted or generation.lost:
        return [Freed(generation.id)]
    return [Counted(generation.id, generation.prompt_tokens), Freed(generation.id)]


def main(number: int) -> None:
    """Load the model that the first command names, and run it."""
    # Ctrl-C reaches the whole group; the worker decides what it means and hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    line = RunnerEnd(socket.socket(fileno=number))
    orders = line.receive(wait=True)
    if not orders or not isinstance(orders[0], Load):
        return
    try:
        model = LoadedModel(orders[0])
    except RuntimeError as error:
        line.send([Unloadable(str(error).strip().splitlines()[-1])])
        return
    line.send([model.ready()])
    try:
        runner = Runner(model, line)
        runner.warm_up()
        runner.run()
    except RuntimeError as error:
        # A step that failed leaves the pipeline unusable (seen: every later step fails, too).
        log.exception("a step failed")
        line.send([Broken(str(error).strip().splitlines()[-1])])
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
