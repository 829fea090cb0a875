"""The calls of the `openvino` engine: from messages to generations, and from these to deltas."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

from msgspec import Struct, structs

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    Sampling,
)
from zaffre.core.deltas import Delta, Deltas, ReasoningDelta, TextDelta, Usage
from zaffre.core.errors import (
    EngineFailed,
    InvalidParameter,
    InvalidRequest,
    Location,
    PromptTooLong,
    UnsupportedParameter,
    ZaffreError,
)
from zaffre.engines.openvino.conversations import decode_pictures, template_messages
from zaffre.engines.openvino.grammar import call_grammar_of, grammar_of
from zaffre.engines.openvino.process import RunnerProcess
from zaffre.engines.openvino.wire import (
    Accepted,
    Conversation,
    Counted,
    Event,
    Failed,
    Generate,
    Progress,
    Prompt,
    Ready,
    Refused,
    Text,
    TokenIds,
    TooLong,
)
from zaffre.engines.text.answer_forms import answer_schema, must_call
from zaffre.engines.text.best_of import best, tried_sampling
from zaffre.engines.text.choices import CallChoice, Choice, TextChoice, ToolChoice
from zaffre.engines.text.effort import effort_variables
from zaffre.engines.text.thoughts import ThoughtSplitter, thinks
from zaffre.engines.text.tool_calls import (
    ToolCallSplitter,
    call_ids,
    check_tools,
    function_object,
    spell_out,
    writes_calls_so,
)

DEFAULT_COMPLETION_TOKENS = 256
"""Bound on a completion when the client gives none (contract, section 6.1)."""


class _Plan(Struct, frozen=True, kw_only=True):
    """What all generations of one call have in common."""

    sampling: Sampling
    max_tokens: int
    location: Location
    """Where the prompt stands in the request."""
    make_choice: Callable[[int, bool], Choice]
    """From a choice's index, and whether the template has opened its thoughts."""
    grammar: str | None = None
    call_grammar: str | None = None
    echo: bool = False


class OpenVinoCalls:
    """Answers calls with a loaded model. `randomness` draws seeds and the ids of tool calls."""

    def __init__(
        self,
        runner: RunnerProcess,
        *,
        model: Ready,
        default_max_tokens: int,
        longest_text: int | None,
        randomness: Random,
    ) -> None:
        self._runner = runner
        self._longest_text = longest_text
        self._default_max_tokens = default_max_tokens
        self._randomness = randomness
        self._new_id = call_ids(randomness)
        self._vocabulary_size = model.vocabulary_size
        self._sentencepiece = model.sentencepiece
        self._sees = model.sees
        self._chat_template = model.chat_template
        self._takes_tools = "tools" in model.chat_template
        self._calls_are_tagged = not self._takes_tools or writes_calls_so(model.chat_template)
        self._thinks = thinks(model.chat_template)

    async def chat(self, call: ChatCall) -> Deltas:
        """Answer `call`."""
        check_tools(call)
        self._check_tokens(call.sampling.stop_token_ids, ("stop_token_ids",))
        choice_of_tool = call.tool_choice if call.tools else "none"
        forced = must_call(call)
        # Reading a large schema or image takes longer than the loop may wait.
        grammar, call_grammar = await asyncio.to_thread(self._grammars, call)
        pictures = await asyncio.to_thread(decode_pictures, call.messages) if self._sees else ()
        told = call if self._takes_tools else structs.replace(call, messages=spell_out(call))
        offered = call.tools if self._takes_tools and choice_of_tool != "none" else ()
        conversation = Conversation(
            template_messages(told.messages),
            [function_object(tool) for tool in offered],
            pictures,
            effort_variables(call.reasoning_effort, self._chat_template),
        )
        plan = _Plan(
            sampling=call.sampling,
            max_tokens=_bound(call.sampling, self._default_max_tokens),
            location=("messages",),
            make_choice=self._choices(call, forced=forced, held=grammar is not None),
            grammar=grammar,
            call_grammar=call_grammar,
        )
        async with aclosing(self._generate([conversation], plan)) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, call: CompletionCall) -> Deltas:
        """Continue the prompts of `call`."""
        if call.echo and call.sampling.logprobs is not None:
            raise UnsupportedParameter(
                ("echo",), True, "The tokens of a prompt that is echoed have no log probabilities."
            )
        self._check_tokens(call.sampling.stop_token_ids, ("stop_token_ids",))
        ranked = call.best_of is not None
        plan = _Plan(
            sampling=tried_sampling(call) if ranked else call.sampling,
            max_tokens=_bound(call.sampling, DEFAULT_COMPLETION_TOKENS),
            location=("prompt",),
            make_choice=lambda index, _: TextChoice(index, ()),
            echo=call.echo,
        )
        prompts = [self._prompt(prompt) for prompt in call.prompts]
        run = self._generate(prompts, plan)
        async with aclosing(best(call, run) if ranked else run) as deltas:
            async for delta in deltas:
                yield delta

    def _grammars(self, call: ChatCall) -> tuple[str | None, str | None]:
        """The grammar of the answer, if it has to have one, and of calls that it may make."""
        form = answer_schema(call, self._longest_text)
        if form is not None:
            return grammar_of(*form, sentencepiece=self._sentencepiece), None
        return None, self._call_grammar(call) if call.tools else None

    def _call_grammar(self, call: ChatCall) -> str | None:
        """The grammar of a call that the model may make by itself; None where it cannot be held.

        The names of SentencePiece's tokens are not the text that opens a call; and where the end
        of an answer is ignored, there is no end of a call either.
        """
        free = call.tool_choice == "auto" and not call.sampling.ignore_eos
        if not free or self._sentencepiece or not self._calls_are_tagged:
            return None
        one = structs.replace(call, tool_choice="required", parallel_tool_calls=False)
        form = answer_schema(one, self._longest_text)
        try:
            return None if form is None else call_grammar_of(*form)
        except UnsupportedParameter:  # then as well as the model can
            return None

    def _prompt(self, prompt: str | tuple[int, ...]) -> Prompt:
        if isinstance(prompt, str):
            return Text(prompt)
        self._check_tokens(prompt, ("prompt",))
        return TokenIds(prompt)

    def _check_tokens(self, tokens: Sequence[int], location: Location) -> None:
        for token in tokens:
            if not 0 <= token < self._vocabulary_size:
                trouble = f"There is no token {token}; the model has {self._vocabulary_size}."
                raise InvalidParameter(location, token, trouble)

    def _choices(
        self, call: ChatCall, *, forced: bool, held: bool
    ) -> Callable[[int, bool], Choice]:
        """How to read an answer; `held` when a grammar holds it, from its first character."""
        if forced:
            return lambda index, _: CallChoice(index, self._new_id)
        if held:
            return lambda index, _: TextChoice(index, ())

        def make(index: int, thinking: bool) -> Choice:
            choice: Choice = TextChoice(index, ())
            if call.tools and call.tool_choice != "none":
                parallel = call.parallel_tool_calls
                splitter = ToolCallSplitter(call.tools, self._new_id, parallel=parallel)
                choice = ToolChoice(index, (), splitter)
            return ThinkingChoice(index, choice, inside=thinking) if self._thinks else choice

        return make

    async def _generate(self, prompts: Sequence[Prompt], plan: _Plan) -> Deltas:
        run = _Run(self._runner, prompts, plan, self._seed(plan.sampling))
        try:
            async for delta in run.deltas():
                yield delta
        finally:
            run.cancel()

    def _seed(self, sampling: Sampling) -> int:
        return self._randomness.getrandbits(63) if sampling.seed is None else sampling.seed


class ThinkingChoice:
    """A choice of a model that thinks before it answers: `inner` reads the answer."""

    def __init__(self, index: int, inner: Choice, *, inside: bool) -> None:
        self._index = index
        self._inner = inner
        self._splitter = ThoughtSplitter(inside=inside)

    @property
    def thinking(self) -> bool:
        """Whether the model has not closed its thoughts yet."""
        return self._splitter.thinking

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted, though the model would go on."""
        return self._inner.ended

    def push(self, text: str, logprobs: Sequence[Any]) -> list[Delta]:
        """Thoughts as they come, and what the inner choice makes of the answer."""
        deltas: list[Delta] = []
        for kind, piece in self._splitter.push(text):
            if kind == "thought":
                deltas.append(ReasoningDelta(piece, self._index))
            else:
                deltas += self._inner.push(piece, logprobs)
        return deltas

    def close(self, reason: Any) -> list[Delta]:  # noqa: ANN401
        """What is left, and the `Finish`."""
        deltas: list[Delta] = []
        for kind, piece in self._splitter.close():
            if kind == "thought":
                deltas.append(ReasoningDelta(piece, self._index))
            else:
                deltas += self._inner.push(piece, ())
        return [*deltas, *self._inner.close(reason)]


class _Run:
    """The generations of one call: every prompt, `n` times.

    The first choice of a prompt goes ahead; the others follow once it has shown its first tokens,
    because then the prompt is in the cache and costs them nothing.
    """

    def __init__(
        self, runner: RunnerProcess, prompts: Sequence[Prompt], plan: _Plan, seed: int
    ) -> None:
        self._runner, self._prompts, self._plan, self._seed = runner, prompts, plan, seed
        self._events: asyncio.Queue[tuple[int, Event | ZaffreError]] = asyncio.Queue()
        self._numbers: dict[int, int] = {}
        self._choices: dict[int, Choice] = {}
        self._unanswered = len(prompts)
        self._unfinished = len(prompts) * plan.sampling.n
        self._uncounted: set[int] = set()
        self._prompt_tokens = self._completion_tokens = self._reasoning_tokens = 0

    async def deltas(self) -> Deltas:
        """All deltas of the call. Nothing comes before every prompt is known to fit."""
        for first in range(0, self._unfinished, self._plan.sampling.n):
            self._begin(first)
        early: list[Delta] = []
        while self._unfinished or self._uncounted:
            index, event = await self._events.get()
            early += self._take(index, event)
            if not self._unanswered:
                ready, early = early, []
                for delta in ready:
                    yield delta
        yield Usage(
            self._prompt_tokens,
            self._completion_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )

    def cancel(self) -> None:
        """Stop what is still going on."""
        for number in self._numbers.values():
            self._runner.cancel(number)

    def _begin(self, index: int) -> None:
        number, draw = divmod(index, self._plan.sampling.n)
        order = Generate(
            id=0,
            prompt=self._prompts[number],
            sampling=self._plan.sampling,
            seed=self._seed + draw,
            max_tokens=self._plan.max_tokens,
            grammar=self._plan.grammar,
            call_grammar=self._plan.call_grammar,
            wants_prompt=self._plan.echo,
        )
        self._numbers[index] = self._runner.begin(
            order, lambda event: self._events.put_nowait((index, event))
        )

    def _take(self, index: int, event: Event | ZaffreError) -> list[Delta]:
        match event:
            case Accepted():
                return self._accept(index, event)
            case Progress():
                # What the runner said before it knew that nothing more is wanted is dropped.
                return self._progress(index, event) if index in self._numbers else []
            case Counted(prompt_tokens=tokens):
                self._count(index, tokens)
                return []
            case TooLong(tokens=tokens, limit=limit):
                raise PromptTooLong(tokens, limit, self._plan.location)
            case Refused(message=message):
                raise InvalidRequest(message, self._plan.location)
            case Failed(message=message):
                raise EngineFailed(message)
            case ZaffreError():
                raise event
            case _:
                return []

    def _accept(self, index: int, event: Accepted) -> list[Delta]:
        self._choices[index] = self._plan.make_choice(index, event.thinking)
        if event.prompt_tokens is None:
            self._uncounted.add(index)
        if index % self._plan.sampling.n == 0:
            self._unanswered -= 1
            self._prompt_tokens += event.prompt_tokens or 0
        return [TextDelta(event.prompt, index)] if event.prompt else []

    def _count(self, index: int, prompt_tokens: int) -> None:
        self._uncounted.discard(index)
        if index % self._plan.sampling.n == 0:
            self._prompt_tokens += prompt_tokens

    def _progress(self, index: int, event: Progress) -> list[Delta]:
        choice = self._choices[index]
        self._completion_tokens += event.tokens
        deltas = choice.push(event.text, event.logprobs) if event.text or event.logprobs else []
        if isinstance(choice, ThinkingChoice) and choice.thinking:
            self._reasoning_tokens += event.tokens
        if event.finish is not None or choice.ended:
            deltas += choice.close(event.finish or "stop")
            self._unfinished -= 1
            number = self._numbers.pop(index)
            if index in self._uncounted:
                self._runner.end(number)
            else:
                self._runner.cancel(number)
        if index % self._plan.sampling.n == 0:
            self._begin_others(index)
        return deltas

    def _begin_others(self, first: int) -> None:
        for other in range(first + 1, first + self._plan.sampling.n):
            if other not in self._choices and other not in self._numbers:
                self._begin(other)


def _bound(sampling: Sampling, default: int) -> int:
    return default if sampling.max_tokens is None else sampling.max_tokens
