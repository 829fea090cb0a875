"""How many threads a model computes with."""

import pytest

from zaffre.core.cards import ModelCard
from zaffre.core.plan import ServingOptions
from zaffre.service.runs import Bounds, threads_of

CHAT = ModelCard(name="m", format="gguf", operations=("chat", "complete"))
EMBED = ModelCard(name="m", format="onnx", operations=("embed",))
FOUR = Bounds(cores=4)


@pytest.mark.parametrize(
    ("serving", "bounds", "card", "expected"),
    [
        (ServingOptions(), FOUR, CHAT, 4),
        (ServingOptions(), FOUR, EMBED, 3),
        (ServingOptions(), Bounds(cores=1), EMBED, 1),
        (ServingOptions(), Bounds(cores=4, threads=2), CHAT, 2),
        (ServingOptions(threads=8), FOUR, CHAT, 8),
        (ServingOptions(threads=8, instance_type="Standard_F8s_v2"), FOUR, CHAT, 4),
        (ServingOptions(threads=2, instance_type="Standard_F2s_v2"), FOUR, CHAT, 2),
    ],
)
def test_threads(serving: ServingOptions, bounds: Bounds, card: ModelCard, expected: int):
    assert threads_of(serving, bounds, card) == expected
