"""The `openvino` engine without a prefix cache: nothing of one prompt is left for the next."""

from pathlib import Path

import openvino_genai as genai
import pytest

from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.engines.openvino.model import LoadedModel
from zaffre.engines.openvino.options import load_order

PROMPT = "The sea is wide and deep, and nobody has ever counted what lives in it. " * 8
TOKENS_PER_STEP = 16
TINY_MODEL = Path(__file__).with_name("phi3_ir")


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
    card = ModelCard(name="tiny-phi3", format="openvino-ir", operations=("chat", "complete"))
    options = {"batch_tokens": TOKENS_PER_STEP, "prefix_cache": prefix_cache}
    spec = EngineSpec(card=card, path=str(TINY_MODEL), threads=1, options=options)
    model = LoadedModel(load_order(spec))
    first, second = (steps_to_first_token(model, number) for number in range(2))
    assert first * TOKENS_PER_STEP >= len(model.encode(PROMPT, start=True))
    assert second <= 2 if prefix_cache else second == first
