"""One generation in the pipeline: what the library is told, and what becomes of its tokens."""

import openvino_genai as genai
from openvino_genai.py_openvino_genai import GenerationHandle

from zaffre.core.deltas import Delta, FinishReason, TextDelta, TokenLogprob
from zaffre.engines.openvino.model import Vocabulary
from zaffre.engines.openvino.wire import Conversation, Generate, Progress
from zaffre.engines.text.choices import TextChoice
from zaffre.engines.text.text_stream import CharacterStream
from zaffre.engines.text.tool_calls import CALL_CLOSE, CALL_OPEN

_GREEDY_TEMPERATURE = 1e-3
"""Below it, logits divided by the temperature leave the range of the library's floats."""
_SEEDS = 2**64


def generation_config(order: Generate, vocabulary: Vocabulary) -> genai.GenerationConfig:
    """What the library is told about `order`, but for the bound on its tokens."""
    asked = order.sampling
    config = genai.GenerationConfig()
    # Prompts come as their template wrote them.
    config.apply_chat_template = False
    # What a grammar describes has an end.
    config.ignore_eos = asked.ignore_eos and order.grammar is None
    config.stop_token_ids = _stop_tokens(order, vocabulary)
    config.logprobs = 0 if asked.logprobs is None else 1
    config.frequency_penalty = asked.frequency_penalty or 0.0
    config.presence_penalty = asked.presence_penalty or 0.0
    config.repetition_penalty = asked.repetition_penalty or 1.0
    if order.grammar is not None:
        config.structured_output_config = genai.StructuredOutputConfig(grammar=order.grammar)
    elif order.call_grammar is not None:
        config.structured_output_config = _held_calls(order.call_grammar)
    temperature = 1.0 if asked.temperature is None else asked.temperature
    top_p = 1.0 if asked.top_p is None else asked.top_p
    min_p = asked.min_p or 0.0
    if temperature >= _GREEDY_TEMPERATURE and top_p > 0 and min_p < 1 and asked.top_k != 1:
        config.do_sample = True
        config.temperature = temperature
        config.top_p = top_p
        config.min_p = min_p
        config.rng_seed = order.seed % _SEEDS
        if asked.top_k:
            config.top_k = min(asked.top_k, len(vocabulary.pieces))
    return config


def _held_calls(grammar: str) -> genai.StructuredOutputConfig:
    """Free text, in which what is opened as a tool call becomes one."""
    form = genai.StructuredOutputConfig
    call = form.Tag(CALL_OPEN, form.EBNF(grammar), CALL_CLOSE)
    return form(structural_tags_config=form.TriggeredTags(triggers=[CALL_OPEN], tags=[call]))


def _stop_tokens(order: Generate, vocabulary: Vocabulary) -> set[int]:
    asked = set(order.sampling.stop_token_ids)
    if order.grammar is not None:
        return asked | vocabulary.end
    return asked if order.sampling.ignore_eos else asked | vocabulary.stop


class Generation:
    """A generation under way: turns its tokens into text, and ends it before a stop text."""

    def __init__(
        self,
        order: Generate,
        handle: GenerationHandle,
        vocabulary: Vocabulary,
        *,
        bound: int | None = None,
    ) -> None:
        """With `bound`, the generation is ended after so many tokens if the library does not."""
        self.id = order.id
        self.handle = handle
        self.counted = bound is None
        """Whether the length of the prompt was known before."""
        self._left = bound
        self.ended = False
        """Whether nothing more will be read from it."""
        self.cancelled = False
        """Whether the pipeline still has to let go of it, in its next step."""
        self._vocabulary = vocabulary
        # Under a grammar a special token counts as what its name looks like.
        silent = vocabulary.end if order.grammar is not None else vocabulary.special
        self._silent = silent | set(order.sampling.stop_token_ids)
        # The blank before the first word of an answer is none of its text.
        self._blank = vocabulary.sentencepiece and isinstance(order.prompt, Conversation)
        self._scored = order.sampling.logprobs is not None
        self._characters = CharacterStream()
        self._choice = TextChoice(0, order.sampling.stop)

    def read(self) -> Progress | None:
        """What the last step added, if anything."""
        tokens, deltas = 0, list[Delta]()
        reason: FinishReason | None = None
        while not self.ended and self.handle.can_read():
            for output in self.handle.read().values():
                tokens += len(output.generated_ids)
                if self._left is not None:
                    self._left -= len(output.generated_ids)
                scores = output.generated_log_probs
                for token, score in zip(output.generated_ids, scores, strict=True):
                    deltas += self._push(token, score)
                reason = self._reason(output.finish_reason)
                self.ended = reason is not None
        if self.ended:
            *held, _ = self._choice.close("stop")
            deltas += held
        if not tokens:
            return None
        said = [delta for delta in deltas if isinstance(delta, TextDelta)]
        text = "".join(delta.text for delta in said)
        logprobs = tuple(scored for delta in said for scored in delta.logprobs)
        return Progress(self.id, text, tokens, logprobs, reason)

    def _push(self, token: int, score: float) -> list[Delta]:
        if token in self._silent or self._choice.ended:
            return []
        piece = self._vocabulary.pieces[token]
        if self._blank:
            piece, self._blank = piece.removeprefix(b" "), False
        scored = TokenLogprob(piece.decode("utf-8", "replace"), score, piece)
        return self._choice.push(self._characters.push(piece), [scored] if self._scored else [])

    def cancel(self) -> None:
        """End it now."""
        self.handle.cancel()
        self.ended = self.cancelled = True

    def _reason(self, reason: genai.GenerationFinishReason) -> FinishReason | None:
        if self._choice.ended:
            self.cancel()
            return "stop"
        if reason == genai.GenerationFinishReason.STOP:
            return "stop"
        if reason == genai.GenerationFinishReason.LENGTH:
            return "length"
        if self._left == 0:
            self.cancel()
            return "length"
        return None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt; known when the pipeline has let go of the generation."""
        tokens: int = self.handle.get_perf_metrics().get_num_input_tokens()
        return tokens

    @property
    def lost(self) -> bool:
        """Whether the pipeline gave it up by itself: no memory for its keys and values."""
        return not self.ended and self.handle.get_status() == genai.GenerationStatus.IGNORED
