"""Sampling parameters: wire to core and back. Chat and completions share their names."""

import re

from zaffre.core.calls import Sampling
from zaffre.core.errors import InvalidParameter
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest

MAX_STOPS = 16
TOKEN_ID = re.compile(r"[0-9]{1,10}")
_PLAIN = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "max_tokens",
    "seed",
    "top_k",
    "min_p",
    "repetition_penalty",
)


def read_sampling(request: ChatRequest | CompletionRequest, logprobs: int | None) -> Sampling:
    """The sampling that `request` asks for. Raises `InvalidParameter`."""
    plain = {name: getattr(request, name) for name in _PLAIN}
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        plain["max_tokens"] = request.max_completion_tokens
    return Sampling(
        **plain,
        stop=_read_stop(request.stop),
        n=1 if request.n is None else request.n,
        logprobs=logprobs,
        logit_bias=_read_bias(request.logit_bias),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
    )


def _read_stop(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > MAX_STOPS:
        raise InvalidParameter(("stop",), len(stops), f"'stop' takes at most {MAX_STOPS} texts.")
    if "" in stops:
        raise InvalidParameter(("stop",), "", "A stop text must not be empty.")
    return stops


def _read_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    if not bias:
        return None
    for token, value in bias.items():
        if not TOKEN_ID.fullmatch(token):
            raise InvalidParameter(("logit_bias", token), value, "Keys are token ids.")
        if not -100 <= value <= 100:
            raise InvalidParameter(("logit_bias", token), value, "A bias is from -100 to 100.")
    return {int(token): value for token, value in bias.items()}


def write_sampling(sampling: Sampling, request: ChatRequest | CompletionRequest) -> None:
    """Put `sampling` into `request`, all but the log probabilities: each route has its own."""
    for name in _PLAIN:
        setattr(request, name, getattr(sampling, name))
    request.stop = list(sampling.stop) or None
    request.n = sampling.n if sampling.n != 1 else None
    if sampling.logit_bias is not None:
        request.logit_bias = {str(token): bias for token, bias in sampling.logit_bias.items()}
    request.stop_token_ids = list(sampling.stop_token_ids) or None
    request.ignore_eos = sampling.ignore_eos or None
