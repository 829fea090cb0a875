"""DSPy's programs, through LiteLLM's providers."""

from typing import Literal

import dspy
import litellm
import pytest
from dspy.utils.exceptions import AdapterParseError
from under_test import (
    API_VERSION,
    CHAT,
    DIMENSIONS,
    EMBEDDER,
    ENDPOINT,
    KEY,
    MAX_TOKENS,
    QUESTION,
    V1,
    check_vector,
)

PROVIDERS = {
    "openai": {"api_base": V1, "api_key": KEY},
    "azure": {"api_base": ENDPOINT, "api_key": KEY, "api_version": API_VERSION},
    "azure_ai": {"api_base": ENDPOINT, "api_key": KEY},
}


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """The name that models are prefixed with."""
    return str(request.param)


def make_model(provider: str, model: str = CHAT, kind: str = "chat") -> dspy.LM:
    return dspy.LM(
        f"{provider}/{model}",
        model_type=kind,
        temperature=0,
        max_tokens=MAX_TOKENS,
        cache=False,
        num_retries=0,
        **PROVIDERS[provider],
    )


class Mood(dspy.Signature):
    """Tell the mood of a sentence."""

    sentence: str = dspy.InputField()
    mood: Literal["glad", "sad"] = dspy.OutputField()


def test_an_answer(provider: str):
    (answer,) = make_model(provider)(QUESTION)
    assert answer["text"] if isinstance(answer, dict) else answer


def test_an_answer_through_responses():
    (answer,) = make_model("openai", kind="responses")(QUESTION)
    assert answer["text"] if isinstance(answer, dict) else answer


@pytest.mark.parametrize("provider", ["azure", "azure_ai"])
def test_a_signature_is_filled_in_under_its_schema(provider: str):
    # LiteLLM, which DSPy asks, knows no model of ours: it is told that this one takes schemas. Its
    # own client for `openai` goes by a catalogue that cannot be added to.
    facts = {"litellm_provider": provider, "mode": "chat", "supports_response_schema": True}
    litellm.register_model({f"{provider}/{CHAT}": facts})
    with dspy.context(lm=make_model(provider), adapter=dspy.JSONAdapter()):
        assert dspy.Predict(Mood)(sentence="What a lovely day!").mood in ("glad", "sad")


async def test_a_program_streams():
    model = make_model("openai")
    with dspy.context(lm=model, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        program = dspy.streamify(dspy.Predict("question -> answer"))
        pieces = []
        try:
            async for piece in program(question=QUESTION):
                pieces += [piece]
        except* AdapterParseError:  # so small a model may miss the form of the answer in the end
            pass
    assert len(pieces) > 1


def test_embeddings():
    embedder = dspy.Embedder(f"openai/{EMBEDDER}", caching=False, **PROVIDERS["openai"])
    vectors = embedder(["a cat", "a dog"])
    assert vectors.shape == (2, DIMENSIONS)
    check_vector(vectors[0].tolist())


def test_an_unknown_model_is_refused(provider: str):
    with pytest.raises(Exception, match="gpt-9"):
        make_model(provider, "gpt-9")("hi")
