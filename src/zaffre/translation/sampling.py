"""Sampling parameters: wire to core and back. Chat and completions share their names."""

import re

from zaffre.core.calls import Sampling
from zaffre.core.errors import InvalidParameter
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest

MAX_STOPS = 16
TOKEN_ID = re.compile(r"[0-9]{1,10}")


def read_sampling(request: ChatRequest | CompletionRequest, logprobs: int | None) -> Sampling:
    """The sampling that `request` asks for. Raises `InvalidParameter`."""
    max_tokens = request.max_tokens
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        max_tokens = request.max_completion_tokens
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        max_tokens=max_tokens,
        stop=() if request.stop is None else _read_stop(request.stop),
        seed=request.seed,
        n=1 if request.n is None else request.n,
        logprobs=logprobs,
        logit_bias=None if request.logit_bias is None else _read_bias(request.logit_bias),
        top_k=request.top_k,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
        stop_token_ids=tuple(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
    )


def _read_stop(stop: str | list[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    if len(stops) > MAX_STOPS:
        raise InvalidParameter(("stop",), len(stops), f"'stop' takes at most {MAX_STOPS} texts.")
    if "" in stops:
        raise InvalidParameter(("stop",), "", "A stop text must not be empty.")
    return stops


def _read_bias(bias: dict[str, float]) -> dict[int, float] | None:
    for token, value in bias.items():
        if not TOKEN_ID.fullmatch(token):
            raise InvalidParameter(("logit_bias", token), value, "Keys are token ids.")
        if not -100 <= value <= 100:
            raise InvalidParameter(("logit_bias", token), value, "A bias is from -100 to 100.")
    return {int(token): value for token, value in bias.items()} or None


def write_sampling(sampling: Sampling, request: ChatRequest | CompletionRequest) -> None:
    """Put `sampling` into `request`, all but the log probabilities: each route has its own."""
    request.temperature = sampling.temperature
    request.top_p = sampling.top_p
    request.frequency_penalty = sampling.frequency_penalty
    request.presence_penalty = sampling.presence_penalty
    request.max_tokens = sampling.max_tokens
    request.stop = list(sampling.stop) if sampling.stop else None
    request.seed = sampling.seed
    request.n = sampling.n if sampling.n != 1 else None
    if sampling.logit_bias is not None:
        request.logit_bias = {str(token): bias for token, bias in sampling.logit_bias.items()}
    request.top_k = sampling.top_k
    request.min_p = sampling.min_p
    request.repetition_penalty = sampling.repetition_penalty
    request.stop_token_ids = list(sampling.stop_token_ids) if sampling.stop_token_ids else None
    request.ignore_eos = sampling.ignore_eos or None
