"""A model on llama.cpp: calls become prompts and plans, and what it can do becomes capabilities."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import aclosing
from random import SystemRandom
from typing import Any, Self

from msgspec import Struct, structs

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    Sampling,
)
from zaffre.core.capabilities import ANY, GENERATION_PARAMETERS, Capabilities, Range
from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Deltas, TextDelta, Usage
from zaffre.core.engine import Health
from zaffre.core.errors import InvalidParameter, Location, UnsupportedParameter
from zaffre.engines.llama.media import media_of, plain_media
from zaffre.engines.llama.options import LlamaSettings
from zaffre.engines.llama.pool import TokenPool
from zaffre.engines.llama.runs import Bounds, Plan, PromptInput, Runs
from zaffre.engines.llama.server import LlamaServer
from zaffre.engines.llama.wire import (
    Content,
    Modalities,
    Prompt,
    Properties,
    Slot,
    Tokens,
    chat_fields,
)
from zaffre.engines.text.answer_forms import answer_schema, must_call
from zaffre.engines.text.best_of import best, tried_sampling
from zaffre.engines.text.choices import CallChoice, Choice, TextChoice, ToolChoice
from zaffre.engines.text.effort import effort_variables, hears_effort
from zaffre.engines.text.grammar import write_grammar
from zaffre.engines.text.tool_calls import (
    ToolCallSplitter,
    call_ids,
    check_tools,
    spell_out,
)

DEFAULT_CHAT_TOKENS = 1024
DEFAULT_COMPLETION_TOKENS = 256
MAX_LOGPROBS = 20

REASONING_MARKS = ("<think", "reasoning_content", "<|channel|>", "[THINK]", "enable_thinking")
"""What the chat templates of models that reason have in them, one or the other."""

FIM_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
"""How models mark the text before a gap, the text after it, and the gap itself."""


class _Vocabulary(Struct, frozen=True):
    """What has to be known about the model's tokens."""

    size: int
    start: tuple[int, ...]
    """What every prompt begins with, if anything."""
    empty: tuple[int, ...]
    """What stands for an empty prompt, which llama.cpp does not take."""
    fim: tuple[int, int, int] | None


class LlamaModel:
    """Turns calls into runs on a loaded model."""

    def __init__(
        self,
        server: LlamaServer,
        settings: LlamaSettings,
        card: ModelCard,
        properties: Properties,
        vocabulary: _Vocabulary,
    ) -> None:
        self._server = server
        self._slots = settings.slots
        self._pool = TokenPool(settings.kv_cache_tokens)
        self._new_id = call_ids(SystemRandom())
        bounds = Bounds(settings.n_ctx, settings.kv_cache_tokens, settings.prefix_cache)
        self._runs = Runs(server, self._pool, bounds, self._new_id)
        self._vocabulary = vocabulary
        self._longest_text = card.longest_json_text
        self._native_tools = properties.chat_template_caps.supports_tools
        self._has_senses = _content_parts(properties.modalities) > {"text"}
        self._chat_template = properties.chat_template
        self._reasons = any(mark in properties.chat_template for mark in REASONING_MARKS)
        self.capabilities = _capabilities(settings, card, properties, vocabulary)

    @classmethod
    async def load(cls, server: LlamaServer, settings: LlamaSettings, card: ModelCard) -> Self:
        """Start `server` and learn what its model is like."""
        await server.start()
        properties = await server.get("/props", Properties)
        return cls(server, settings, card, properties, await _vocabulary(server, settings))

    def health(self) -> Health:
        """How many calls hold room, and how many wait for it or for a slot."""
        active = min(self._pool.active, self._slots)
        return Health(active, self._pool.waiting + self._pool.active - active)

    async def busy_slots(self) -> int:
        """How many slots llama.cpp is working in."""
        slots = await self._server.get("/slots", list[Slot])
        return sum(slot.is_processing for slot in slots)

    # --- chat ----------------------------------------------------------------------------------

    async def chat(self, call: ChatCall) -> Deltas:
        """Answer `call`."""
        self._check_bias(call.sampling)
        check_tools(call)
        forced = must_call(call)
        # Reading a large image or schema takes longer than the loop may wait.
        if self._has_senses:
            seen = await asyncio.to_thread(plain_media, call.messages)
            call = structs.replace(call, messages=seen)
        told = call
        if not self._native_tools:
            told = structs.replace(call, messages=spell_out(call), tools=())
        body = chat_fields(told) | self._template_fields(call)
        held = forced or call.format != "text"
        fields = await asyncio.to_thread(_constraint, call, self._longest_text) if held else {}
        prompt = await self._render(body, media_of(call.messages))
        plan = Plan(
            sampling=call.sampling,
            default_tokens=DEFAULT_CHAT_TOKENS,
            location=("messages",),
            make_choice=self._choices(call, forced=forced, held=held),
            fields=fields,
        )
        if not held and self._needs_parsing(call, body):
            run = self._runs.chat(body, prompt.tokens, plan)
        else:
            run = self._runs.complete([prompt], plan)
        async with aclosing(run) as deltas:
            async for delta in deltas:
                yield delta

    def _choices(self, call: ChatCall, *, forced: bool, held: bool) -> Callable[[int], Choice]:
        stops = call.sampling.stop
        if forced:
            return lambda index: CallChoice(index, self._new_id)
        if held or not call.tools or call.tool_choice == "none":
            return lambda index: TextChoice(index, stops)
        return lambda index: ToolChoice(
            index,
            stops,
            ToolCallSplitter(call.tools, self._new_id, parallel=call.parallel_tool_calls),
        )

    def _needs_parsing(self, call: ChatCall, body: dict[str, Any]) -> bool:
        """Whether only llama.cpp can tell the parts of the model's answer from each other."""
        if "tools" in body and call.sampling.logprobs is not None:
            return False  # it does not do both; calls in the usual notations are found all the same
        return self._reasons or "tools" in body

    def _template_fields(self, call: ChatCall) -> dict[str, Any]:
        """More that the template may look at."""
        variables = effort_variables(call.reasoning_effort, self._chat_template)
        return {"chat_template_kwargs": variables} if variables else {}

    async def _render(self, body: dict[str, Any], media: Sequence[bytes]) -> PromptInput:
        """The conversation as the model's own template writes it."""
        where: Location = ("messages",)
        rendered = (await self._server.post("/apply-template", body, Prompt, where)).prompt
        if media:
            shown = [b64encode(file).decode() for file in media]
            return PromptInput({"prompt_string": rendered, "multimodal_data": shown}, None)
        tokens = await _tokenize(self._server, rendered)
        return PromptInput(tokens, len(tokens))

    def _check_bias(self, sampling: Sampling) -> None:
        # llama.cpp passes over ids that it does not know.
        for token in sampling.logit_bias or ():
            if not 0 <= token < self._vocabulary.size:
                raise InvalidParameter(
                    ("logit_bias", str(token)),
                    token,
                    f"There is no token {token}; the model has {self._vocabulary.size}.",
                )

    # --- completions ---------------------------------------------------------------------------

    async def complete(self, call: CompletionCall) -> Deltas:
        """Continue the prompts of `call`."""
        self._check_bias(call.sampling)
        if call.echo and call.sampling.logprobs is not None:
            raise UnsupportedParameter(
                ("echo",), True, "The tokens of a prompt that is echoed have no log probabilities."
            )
        prompts = [await self._prompt(prompt, call.suffix) for prompt in call.prompts]
        echoed = [await self._text(prompt) for prompt in call.prompts] if call.echo else []
        if call.best_of is None:
            run = self._plain(prompts, call.sampling)
        else:
            run = best(call, self._plain(prompts, tried_sampling(call)))
        begun = set[int]()
        async with aclosing(run) as deltas:
            async for delta in deltas:
                if echoed and not isinstance(delta, Usage) and delta.index not in begun:
                    begun.add(delta.index)
                    text = echoed[delta.index // call.sampling.n]
                    if text:
                        yield TextDelta(text, delta.index)
                yield delta

    def _plain(self, prompts: Sequence[PromptInput], sampling: Sampling) -> Deltas:
        plan = Plan(
            sampling=sampling,
            default_tokens=DEFAULT_COMPLETION_TOKENS,
            location=("prompt",),
            make_choice=lambda index: TextChoice(index, sampling.stop),
        )
        return self._runs.complete(prompts, plan)

    async def _prompt(self, prompt: str | tuple[int, ...], suffix: str | None) -> PromptInput:
        if isinstance(prompt, str):
            tokens = await _tokenize(self._server, prompt, start=suffix is None)
        else:
            tokens = list(prompt)
            for token in tokens:
                if not 0 <= token < self._vocabulary.size:
                    raise InvalidParameter(("prompt",), token, f"There is no token {token}.")
        if suffix is not None:
            if self._vocabulary.fim is None:
                raise UnsupportedParameter(
                    ("suffix",), suffix, "The model has no tokens for a gap in a text."
                )
            before, after, middle = self._vocabulary.fim
            rest = await _tokenize(self._server, suffix, start=False)
            # Not by llama.cpp's own route: it cuts the text before the gap without a word.
            tokens = [*self._vocabulary.start, before, *tokens, after, *rest, middle]
        tokens = tokens or list(self._vocabulary.empty)
        return PromptInput(tokens, len(tokens))

    async def _text(self, prompt: str | tuple[int, ...]) -> str:
        if isinstance(prompt, str):
            return prompt
        return (await self._server.post("/detokenize", {"tokens": prompt}, Content)).content


def _constraint(call: ChatCall, longest_text: int | None) -> dict[str, Any]:
    """The fields of a request whose answer has to have a form."""
    form = answer_schema(call, longest_text)
    return {} if form is None else {"grammar": write_grammar(*form)}


async def _tokenize(server: LlamaServer, text: str, *, start: bool = True) -> list[int]:
    """The tokens of `text`; with what a prompt starts with, and special tokens, unless told."""
    body = {"content": text, "add_special": start, "parse_special": start}
    return (await server.post("/tokenize", body, Tokens)).tokens


async def _vocabulary(server: LlamaServer, settings: LlamaSettings) -> _Vocabulary:
    ids = settings.header.token_ids
    start = tuple(await _tokenize(server, ""))
    some = next((ids[name] for name in ("bos", "eos") if name in ids), 0)
    named = [ids[name] for name in ("fim_pre", "fim_suf", "fim_mid") if name in ids]
    for marks in FIM_TOKENS:
        if len(named) == 3:
            break
        found = [(await _tokenize(server, mark))[len(start) :] for mark in marks]
        named = [tokens[0] for tokens in found if len(tokens) == 1]
    fim = (named[0], named[1], named[2]) if len(named) == 3 else None
    return _Vocabulary(settings.header.vocabulary_size, start, start or (some,), fim)


def _content_parts(senses: Modalities) -> frozenset[str]:
    parts = {"text": True, "image": senses.vision, "audio": senses.audio}
    return frozenset(part for part, taken in parts.items() if taken)


def _capabilities(
    settings: LlamaSettings, card: ModelCard, properties: Properties, vocabulary: _Vocabulary
) -> Capabilities:
    parameters = GENERATION_PARAMETERS | {
        "n": Range(1, settings.slots),
        "best_of": Range(1, settings.slots),
        "logprobs": Range(0, MAX_LOGPROBS),
        "logit_bias": ANY,
        "top_k": Range(0),
        "min_p": Range(0, 1),
        "repetition_penalty": Range(0.01, 10),
        "ignore_eos": ANY,
        "echo": ANY,
        "parallel_tool_calls": ANY,
    }
    if vocabulary.fim is not None:
        parameters["suffix"] = ANY
    if hears_effort(properties.chat_template):
        parameters["reasoning_effort"] = ANY
    templated = settings.chat_template or settings.header.chat_template
    operations = {"chat", "complete"} if templated else {"complete"}
    return Capabilities(
        model=card.name,
        engine="llama",
        provider=card.provider,
        operations=frozenset(card.operations) & operations,
        parameters=parameters,
        content_parts=_content_parts(properties.modalities),
        formats=frozenset({"text", "json_object", "json_schema"}),
        tool_choices=frozenset({"auto", "required", "named"}),
        token_prompts=True,
        context_length=settings.n_ctx,
    )
