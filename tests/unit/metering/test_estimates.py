"""Estimates: near enough to the truth, and never without the answer."""

import pytest

from zaffre.core.calls import (
    ChatCall,
    CompletionCall,
    EmbedCall,
    ImageEmbedCall,
    ImageInput,
    ImagePart,
    Sampling,
    SystemMessage,
    TextPart,
    UserMessage,
)
from zaffre.metering.estimates import MEDIA_TOKENS, MESSAGE_TOKENS, estimate_tokens

TEXT = "x" * 400
TEXT_TOKENS = 100
PICTURE = ImagePart(b"", "image/png")


@pytest.mark.parametrize(
    ("call", "tokens"),
    [
        (ChatCall((SystemMessage(TEXT),)), MESSAGE_TOKENS + TEXT_TOKENS + 50),
        (ChatCall((SystemMessage(TEXT),), Sampling(max_tokens=7, n=3)), MESSAGE_TOKENS + 121),
        (ChatCall((UserMessage((TextPart(TEXT), PICTURE)),)), 154 + MEDIA_TOKENS),
        (CompletionCall((TEXT, (1, 2, 3)), Sampling(max_tokens=0)), TEXT_TOKENS + 3),
        (CompletionCall((TEXT, TEXT), best_of=4), 2 * TEXT_TOKENS + 8 * 50),
        (EmbedCall((TEXT, TEXT)), 2 * TEXT_TOKENS),
        (ImageEmbedCall((ImageInput(b""), ImageInput(b"", TEXT))), 2 * MEDIA_TOKENS + 100),
        (EmbedCall(("你好世界",)), 4),
    ],
)
def test_a_call_costs_its_prompt_and_its_longest_answer(call, tokens):
    """Given a call, when it is estimated, then its prompt, media and all its choices count."""
    assert estimate_tokens(call, default_max_tokens=50) == tokens
