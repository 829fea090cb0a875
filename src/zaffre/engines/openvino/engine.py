"""The `openvino` engine: chat and completions on OpenVINO, which is fastest where requests meet.

Runs GGUF files of the architectures that OpenVINO's reader knows, and folders of OpenVINO IR. The
model lives in a process of its own (`openvino.runner`); here calls become generations in it, and
what it says becomes deltas. The options stand in `options.OPTIONS`.
"""

from random import Random, SystemRandom

from zaffre.core.calls import ChatCall, CompletionCall
from zaffre.core.capabilities import ANY, GENERATION_PARAMETERS, Capabilities, Range
from zaffre.core.deltas import Deltas
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import EngineFailed
from zaffre.engines.openvino.calls import OpenVinoCalls
from zaffre.engines.openvino.options import load_order
from zaffre.engines.openvino.process import RunnerProcess
from zaffre.engines.openvino.wire import Ready
from zaffre.engines.text.effort import hears_effort

DEFAULT_CHAT_TOKENS = 1024
"""Bound on a chat answer when neither client nor option gives one."""
_NOT_STARTED = "The engine is not started, or is closed."


class OpenVinoEngine:
    """Runs a language model on OpenVINO. `randomness` draws seeds and the ids of tool calls."""

    def __init__(self, spec: EngineSpec, randomness: Random | None = None) -> None:
        self._spec = spec
        self._randomness = randomness or SystemRandom()
        self._runner: RunnerProcess | None = None
        self._calls: OpenVinoCalls | None = None

    async def start(self) -> Capabilities:
        """Check the files and the options, and load the model."""
        self._runner = RunnerProcess(load_order(self._spec))
        ready = await self._runner.start()
        self._calls = OpenVinoCalls(
            self._runner,
            model=ready,
            default_max_tokens=int(
                self._spec.options.get("default_max_tokens", DEFAULT_CHAT_TOKENS)
            ),
            longest_text=self._spec.card.longest_json_text,
            randomness=self._randomness,
        )
        return _capabilities(self._spec, ready)

    def health(self) -> Health:
        """How many generations have a slot, and how many wait for one."""
        return Health() if self._runner is None else self._runner.health()

    async def aclose(self) -> None:
        """End what is being generated, and the process that holds the model."""
        self._calls = None
        if self._runner is not None:
            await self._runner.aclose()

    async def ended(self) -> str:
        """Wait until the process that holds the model cannot be kept alive; the cause."""
        if self._runner is None:
            raise EngineFailed(_NOT_STARTED)
        return await self._runner.ended()

    def chat(self, call: ChatCall) -> Deltas:
        """Answer `call`."""
        return self._loaded().chat(call)

    def complete(self, call: CompletionCall) -> Deltas:
        """Continue the prompts of `call`."""
        return self._loaded().complete(call)

    def _loaded(self) -> OpenVinoCalls:
        if self._calls is None:
            raise EngineFailed(_NOT_STARTED)
        return self._calls


def _capabilities(spec: EngineSpec, ready: Ready) -> Capabilities:
    # Without a template there is no agreed way to write a conversation.
    operations = {"chat", "complete"} if ready.chat_template else {"complete"}
    effort = {"reasoning_effort": ANY} if hears_effort(ready.chat_template) else {}
    return Capabilities(
        model=spec.card.name,
        engine="openvino",
        provider=spec.card.provider,
        operations=frozenset(spec.card.operations) & operations,
        parameters=GENERATION_PARAMETERS
        | {
            "n": Range(1, spec.slots),
            "best_of": Range(1, spec.slots),
            # The library scores the token it chose and no others.
            "logprobs": Range(0, 0),
            "top_k": Range(0, 2**31 - 1),
            "min_p": Range(0, 1),
            "repetition_penalty": Range(0.01, 10),
            "ignore_eos": ANY,
            "stop_token_ids": ANY,
            "echo": ANY,
            "parallel_tool_calls": ANY,
        }
        | effort,
        content_parts=frozenset({"text", "image"} if ready.sees else {"text"}),
        formats=frozenset({"text", "json_object", "json_schema"}),
        tool_choices=frozenset({"auto", "required", "named"}),
        # The library takes the prompts of a model that sees as text only.
        token_prompts=not ready.sees,
        context_length=ready.context_length,
    )
