"""Generations on llama.cpp: requests go out, events come in, deltas leave.

Two of its routes are used. POST /completion takes tokens and gives text as it comes: with it the
length of a prompt is known before, grammars are ours, and nothing is parsed behind our back.
POST /v1/chat/completions is for the two things that only llama.cpp knows about a model: how it
writes tool calls, and where its reasoning ends.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from zaffre.core.calls import Sampling, ToolCall
from zaffre.core.deltas import (
    Delta,
    Deltas,
    Finish,
    FinishReason,
    ReasoningDelta,
    ToolCallDelta,
    Usage,
)
from zaffre.core.errors import EngineFailed, Location, PromptTooLong
from zaffre.engines.llama.pool import TokenPool
from zaffre.engines.llama.server import LlamaServer, refusal
from zaffre.engines.llama.wire import (
    ChatChoice,
    ChatEvent,
    CompletionEvent,
    Progress,
    ServerError,
    ToolFragment,
    sampling_fields,
    token_logprobs,
)
from zaffre.engines.text.choices import Choice


class PromptInput(Struct, frozen=True):
    """A prompt as llama.cpp takes it. `tokens` is None where images make it unknowable."""

    content: list[int] | dict[str, Any]
    tokens: int | None


class Plan(Struct, frozen=True):
    """What is wanted of every prompt of a call."""

    sampling: Sampling
    default_tokens: int
    """Bound on generated tokens when the client gave none."""
    location: Location
    """Where the prompt stands in the request."""
    make_choice: Callable[[int], Choice]
    fields: dict[str, Any] = {}
    """More fields of the request to llama.cpp."""


class Bounds(Struct, frozen=True):
    """Tokens of one request, and of all requests together."""

    n_ctx: int
    pool: int
    prefix_cache: bool = True
    """Whether a request may begin where an earlier one was."""

    def new_tokens(self, prompt: PromptInput, plan: Plan) -> int:
        """How many tokens each choice may have. Raises `PromptTooLong` when there is no room."""
        wanted = plan.default_tokens
        if plan.sampling.max_tokens is not None:
            wanted = plan.sampling.max_tokens
        length = prompt.tokens or 0
        if length + min(wanted, 1) > self.n_ctx:
            # An answer has at least one token, and that has to fit as well.
            raise PromptTooLong(length + min(wanted, 1), self.n_ctx, plan.location)
        # The choices of one prompt share its room; all of them have to fit at once.
        share = max(1, (self.pool - length) // plan.sampling.n)
        return min(wanted, self.n_ctx - length, share)

    def room(self, prompt_tokens: int, location: Location) -> int:
        """How many tokens fit behind so many. Raises `PromptTooLong` when none do.

        For prompts with images or sound: llama.cpp, which alone can count them, holds them against
        the room of all requests together.
        """
        if prompt_tokens >= self.n_ctx:
            raise PromptTooLong(prompt_tokens, self.n_ctx, location)
        return self.n_ctx - prompt_tokens

    def cells(self, prompt: PromptInput, new_tokens: int, n: int) -> int:
        """The room that a prompt and its choices take."""
        if prompt.tokens is None:
            return self.n_ctx
        return min(self.pool, prompt.tokens + n * new_tokens)


class Tally:
    """Counts tokens; prompts once, however many choices they have."""

    def __init__(self) -> None:
        self._prompts: dict[int, int] = {}
        self._cached: dict[int, int] = {}
        self._generated: dict[int, int] = {}

    def prompt(self, number: int, tokens: int) -> None:
        """Prompt `number` has so many tokens."""
        self._prompts[number] = tokens

    def progress(self, number: int, progress: Progress) -> None:
        """What llama.cpp says about prompt `number`; the first word counts."""
        if number not in self._cached:
            self._prompts[number] = progress.total
            self._cached[number] = min(progress.cache, progress.total)

    def generated(self, index: int, tokens: int) -> None:
        """Choice `index` has so many tokens by now."""
        self._generated[index] = max(tokens, self._generated.get(index, 0))

    def usage(self) -> Usage:
        """The sums."""
        return Usage(
            sum(self._prompts.values()),
            sum(self._generated.values()),
            sum(self._cached.values()),
        )


class _Group(Struct):
    """Prompts that go out in one request: they have the same bound, and room at the same time."""

    first: int
    new_tokens: int
    cells: int
    prompts: list[PromptInput]


class Runs:
    """Runs prompts on a server, within bounds."""

    def __init__(
        self, server: LlamaServer, pool: TokenPool, bounds: Bounds, new_id: Callable[[], str]
    ) -> None:
        self._server, self._pool, self._bounds = server, pool, bounds
        self._new_id = new_id

    async def complete(self, prompts: Sequence[PromptInput], plan: Plan) -> Deltas:
        """Continue `prompts`. Choice indices run over prompts, then over `n`."""
        tally = Tally()
        groups = list(self._groups(prompts, plan))  # all refusals before the first delta
        for number, prompt in enumerate(prompts):
            tally.prompt(number, prompt.tokens or 0)
        for group in groups:
            if group.new_tokens == 0:
                for delta in _nothing(group, plan):
                    yield delta
                continue
            async with (
                self._pool.take(group.cells),
                aclosing(self._complete_group(group, plan, tally)) as deltas,
            ):
                async for delta in deltas:
                    yield delta
        yield tally.usage()

    def _groups(self, prompts: Sequence[PromptInput], plan: Plan) -> Iterator[_Group]:
        group: _Group | None = None
        for number, prompt in enumerate(prompts):
            new_tokens = self._bounds.new_tokens(prompt, plan)
            cells = self._bounds.cells(prompt, new_tokens, plan.sampling.n)
            if (
                group is None
                or group.new_tokens != new_tokens
                or group.cells + cells > self._bounds.pool
            ):
                if group is not None:
                    yield group
                group = _Group(number, new_tokens, 0, [])
            group.cells += cells
            group.prompts.append(prompt)
        if group is not None:
            yield group

    async def _complete_group(self, group: _Group, plan: Plan, tally: Tally) -> Deltas:
        n = plan.sampling.n
        start = group.first * n
        open_ = {
            index: plan.make_choice(index) for index in range(start, start + len(group.prompts) * n)
        }
        body = self._completion_body(group, plan)
        room = group.new_tokens
        async with aclosing(self._server.stream("/completion", body, plan.location)) as events:
            async for received in events:
                event = _decode(received, CompletionEvent)
                if event is None:
                    continue
                _raise_for(event.error, plan.location)
                index = start + event.index
                if event.prompt_progress is not None:
                    tally.progress(index // n, event.prompt_progress)
                    room = min(room, self._bounds.room(event.prompt_progress.total, plan.location))
                choice = open_.get(index)
                if choice is None:
                    continue
                tally.generated(index, event.tokens_predicted)
                if event.tokens_predicted >= room and not event.stop:
                    event = structs.replace(event, stop=True, stop_type="limit")
                for delta in _advance(choice, event, plan.sampling.logprobs or 0):
                    yield delta
                if choice.ended or event.stop:
                    del open_[index]
                if not open_:
                    return  # which closes the connection, and frees the slots of stopped choices
        raise EngineFailed("llama.cpp ended the answer before it was complete.")

    def _completion_body(self, group: _Group, plan: Plan) -> dict[str, Any]:
        contents = [prompt.content for prompt in group.prompts]
        body = {
            **sampling_fields(plan.sampling, self._bounds.n_ctx),
            **plan.fields,
            "prompt": contents if len(contents) > 1 else contents[0],
            "n_predict": group.new_tokens,
            "cache_prompt": self._bounds.prefix_cache,
            "stream": True,
            "return_progress": True,
        }
        if plan.sampling.logprobs is not None:
            body["n_probs"] = max(1, plan.sampling.logprobs)
        return body

    async def chat(self, body: dict[str, Any], tokens: int | None, plan: Plan) -> Deltas:
        """Continue a conversation by llama.cpp's own reading of the model's answers."""
        prompt = PromptInput([], tokens)
        new_tokens = self._bounds.new_tokens(prompt, plan)
        tally = Tally()
        tally.prompt(0, tokens or 0)
        if new_tokens == 0:
            for delta in _nothing(_Group(0, 0, 0, [prompt]), plan):
                yield delta
            yield tally.usage()
            return
        cells = self._bounds.cells(prompt, new_tokens, plan.sampling.n)
        asked = plan.sampling.logprobs
        body = {
            **body,
            **sampling_fields(plan.sampling, self._bounds.n_ctx),
            **plan.fields,
            "max_tokens": new_tokens,
            "cache_prompt": self._bounds.prefix_cache,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "timings_per_token": True,
        }
        if asked is not None:
            body |= {"logprobs": True, "top_logprobs": max(1, asked)}
        async with self._pool.take(cells), aclosing(self._chat(body, plan, tally)) as deltas:
            async for delta in deltas:
                yield delta
        yield tally.usage()

    async def _chat(self, body: dict[str, Any], plan: Plan, tally: Tally) -> Deltas:
        n = plan.sampling.n
        asked = plan.sampling.logprobs or 0
        room = self._bounds.n_ctx
        open_ = {
            index: _ParsedChoice(index, plan.make_choice(index), self._new_id) for index in range(n)
        }
        route = "/v1/chat/completions"
        async with aclosing(self._server.stream(route, body, plan.location)) as events:
            async for received in events:
                event = _decode(received, ChatEvent)
                if event is None:
                    continue
                _raise_for(event.error, plan.location)
                if event.prompt_progress is not None:
                    tally.progress(0, event.prompt_progress)
                    room = min(room, self._bounds.room(event.prompt_progress.total, plan.location))
                made = event.timings.predicted_n if event.timings is not None else 0
                for piece in event.choices:
                    choice = open_.get(piece.index)
                    if choice is None:
                        continue
                    tally.generated(piece.index, made)
                    for delta in choice.advance(piece, asked, full=made >= room):
                        yield delta
                    if choice.ended:
                        del open_[piece.index]
                if not open_:
                    return
        raise EngineFailed("llama.cpp ended the answer before it was complete.")


class _ParsedChoice:
    """One choice of a chat answer that llama.cpp has parsed: puts tool calls together again."""

    def __init__(self, index: int, choice: Choice, new_id: Callable[[], str]) -> None:
        self._index, self._choice, self._new_id = index, choice, new_id
        self._calls: dict[int, ToolFragment] = {}
        self.ended = False

    def advance(self, piece: ChatChoice, alternatives: int, *, full: bool) -> Iterator[Delta]:
        """The deltas of one event; of the last one, if the context is `full`."""
        added = piece.delta
        if added.reasoning_content:
            yield ReasoningDelta(added.reasoning_content, self._index)
        scored = piece.logprobs.content if piece.logprobs else None
        if added.content or scored:
            logprobs = token_logprobs(scored or [], alternatives)
            yield from self._choice.push(added.content or "", logprobs)
        for fragment in added.tool_calls or ():
            self._add(fragment)
        reason = piece.finish_reason or ("length" if full else None)
        if self._choice.ended or reason is not None:
            self.ended = True
            yield from self._close("length" if reason == "length" else "stop")

    def _add(self, fragment: ToolFragment) -> None:
        call = self._calls.setdefault(fragment.index, ToolFragment(fragment.index))
        call.function.name = (call.function.name or "") + (fragment.function.name or "")
        call.function.arguments = (call.function.arguments or "") + (
            fragment.function.arguments or ""
        )

    def _close(self, reason: FinishReason) -> Iterator[Delta]:
        *left, finish = self._choice.close(reason)
        yield from left
        calls = [call for call in self._calls.values() if _is_whole(call)]
        for call in calls:
            name, arguments = call.function.name or "", call.function.arguments or "{}"
            yield ToolCallDelta(ToolCall(self._new_id(), name, arguments), self._index)
        yield Finish("tool_calls", self._index) if calls else finish


def _is_whole(call: ToolFragment) -> bool:
    """Whether the answer did not end in the middle of the call."""
    try:
        msgspec.json.decode(call.function.arguments or "{}", type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return False
    return True


def _advance(choice: Choice, event: CompletionEvent, alternatives: int) -> Iterator[Delta]:
    logprobs = token_logprobs(event.completion_probabilities, alternatives)
    if event.content or logprobs:
        yield from choice.push(event.content, logprobs)
    if choice.ended:
        yield from choice.close("stop")
    elif event.stop:
        yield from choice.close("length" if event.stop_type == "limit" else "stop")


def _nothing(group: _Group, plan: Plan) -> Iterator[Delta]:
    """The answers to prompts that are only to be read."""
    n = plan.sampling.n
    for index in range(group.first * n, (group.first + len(group.prompts)) * n):
        yield from plan.make_choice(index).close("length")


def _raise_for(error: ServerError | None, location: Location) -> None:
    if error is not None:
        raise refusal(error.code, error, location)


T = TypeVar("T")


def _decode(received: bytes, kind: type[T]) -> T | None:
    """The event; None where llama.cpp says that it has nothing to say."""
    try:
        return None if received == b"null" else msgspec.json.decode(received, type=kind)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"llama.cpp sent an event that cannot be read: {error}.") from error
