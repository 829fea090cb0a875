"""The `openvino` engine without a prefix cache: nothing of one prompt is left for the next."""

import openvino_genai as genai
import pytest
from conformance import spec_of

from zaffre.engines.openvino.model import LoadedModel
from zaffre.engines.openvino.options import load_order

PROMPT = "The sea is wide and deep, and nobody has ever counted what lives in it. " * 8
TOKENS_PER_STEP = 16


def steps_to_first_token(model: LoadedModel, number: int) -> int:
    """How many steps the pipeline takes until `PROMPT` has its first token."""
    config = genai.GenerationConfig(max_new_tokens=1, do_sample=False)
    handle = model.pipeline.add_request(number, PROMPT, config)
    steps = 0
    while not handle.can_read():
        model.pipeline.step()
        steps += 1
    handle.read()
    while model.pipeline.has_non_finished_requests():
        model.pipeline.step()
    return steps


@pytest.mark.parametrize("prefix_cache", [True, False])
def test_a_prompt_is_read_again_unless_it_may_be_known(prefix_cache: bool):
    """Given a prompt of many steps, when it comes a second time, then it takes one or two steps
    where prompts are remembered, and as many as before where they are not."""
    order = load_order(spec_of("openvino", batch_tokens=TOKENS_PER_STEP, prefix_cache=prefix_cache))
    model = LoadedModel(order)
    first, second = (steps_to_first_token(model, number) for number in range(2))
    assert first * TOKENS_PER_STEP >= len(model.encode(PROMPT, start=True))
    assert second <= 2 if prefix_cache else second == first
