"""Text embeddings on the real starter model, all-MiniLM-L6-v2."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from msgspec.structs import replace
from onnx_models import matrix, running, starter

from zaffre.core.calls import EmbedCall, ImageEmbedCall, ImageInput
from zaffre.core.capabilities import Capabilities
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import (
    EngineFailed,
    InvalidParameter,
    ModelUnavailable,
    OperationNotSupported,
    Overloaded,
    PromptTooLong,
    UnsupportedParameter,
)
from zaffre.engines.onnx.engine import OnnxEngine

VECTORS = Path(__file__).with_name("minilm_vectors.json")
CONTEXT = 256


@pytest.fixture(scope="module")
def spec() -> EngineSpec:
    return starter("all-minilm-l6-v2")


@pytest.fixture(scope="module")
async def engine(spec: EngineSpec) -> AsyncIterator[OnnxEngine]:
    async with running(spec) as engine:
        yield engine


async def test_capabilities_are_the_models_own(spec: EngineSpec) -> None:
    engine = OnnxEngine(spec)

    able = await engine.start()
    await engine.aclose()

    assert able == Capabilities(
        model="all-minilm-l6-v2",
        engine="onnx",
        provider="sentence-transformers",
        operations=frozenset({"embed"}),
        context_length=CONTEXT,
        dimensions=384,
    )


async def test_vectors_are_those_of_the_float_weights(engine: OnnxEngine) -> None:
    expected = json.loads(VECTORS.read_text())

    found = matrix(await engine.embed(EmbedCall(tuple(expected))))

    likeness = (found * np.array(list(expected.values()))).sum(axis=1)
    assert likeness.min() > 0.998  # int8 weights; another text is below 0.5
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


async def test_meaning_decides_what_is_near(engine: OnnxEngine) -> None:
    texts = (
        "A cat naps in the sun.",
        "My dog is asleep on the rug.",
        "Shares fell on Wall Street.",
    )

    cat, dog, market = matrix(await engine.embed(EmbedCall(texts)))

    assert cat @ dog > cat @ market + 0.2


async def test_order_is_kept_under_batching(engine: OnnxEngine) -> None:
    # Lengths up and down, over several batches.
    texts = tuple(f"number {i} " + "and more " * ((i * 37) % 90) for i in range(70))

    together = matrix(await engine.embed(EmbedCall(texts)))

    for place in (0, 1, 35, 68, 69):
        alone = matrix(await engine.embed(EmbedCall((texts[place],))))[0]
        np.testing.assert_allclose(together[place], alone, atol=1e-4)


async def test_parallel_calls_get_their_own_answers(engine: OnnxEngine) -> None:
    calls = [
        EmbedCall(tuple(f"call {number}, text {text}" for text in range(1 + number % 3)))
        for number in range(16)
    ]

    answers = await asyncio.gather(*(engine.embed(call) for call in calls))

    for call, answer in zip(calls, answers, strict=True):
        alone = await engine.embed(call)
        np.testing.assert_allclose(matrix(answer), matrix(alone), atol=1e-4)
        assert answer.usage == alone.usage


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 2),
        ("hello", 3),
        ("\x00\u200b\ufeff", 2),
        ("한국어 문장", None),
        ("👩‍👩‍👧‍👦🏳️‍🌈", None),
        ("\u202eabc\u0301\u0301", None),
        ("a" * 5000, 3),
    ],
    ids=["empty", "word", "invisible", "korean", "emoji", "marks", "long word"],
)
async def test_odd_texts_have_vectors(engine: OnnxEngine, text: str, tokens: int | None) -> None:
    found = await engine.embed(EmbedCall((text,)))

    assert np.isfinite(matrix(found)).all()
    assert tokens is None or found.usage.prompt_tokens == tokens


async def test_usage_counts_tokens_with_the_special_ones(engine: OnnxEngine) -> None:
    # [CLS] hello world [SEP] and [CLS] hello [SEP]
    found = await engine.embed(EmbedCall(("hello world", "hello")))

    assert found.usage.prompt_tokens == 7


async def test_the_context_is_full_at_its_last_token(engine: OnnxEngine) -> None:
    fitting = "word " * (CONTEXT - 2)

    found = await engine.embed(EmbedCall((fitting,)))
    with pytest.raises(PromptTooLong) as refusal:
        await engine.embed(EmbedCall(("short", fitting + "word")))

    assert found.usage.prompt_tokens == CONTEXT
    assert refusal.value.location == ("input", 1)
    assert "has 257" in refusal.value.message


async def test_a_text_beyond_reading_is_refused_unread(engine: OnnxEngine) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        await engine.embed(EmbedCall(("a " * 500_001,)))

    assert refusal.value.location == ("input", 0)


async def test_too_long_is_cut_where_the_options_say_so(spec: EngineSpec) -> None:
    begun = "word " * (CONTEXT - 2)
    async with running(replace(spec, options={"too_long": "truncate"})) as engine:
        cut = await engine.embed(EmbedCall((begun + "and other things",)))
        whole = await engine.embed(EmbedCall((begun,)))

    np.testing.assert_allclose(matrix(cut), matrix(whole), atol=1e-5)
    assert cut.usage.prompt_tokens == CONTEXT


async def test_dimensions_are_refused_where_the_card_does_not_allow_them(
    engine: OnnxEngine,
) -> None:
    with pytest.raises(UnsupportedParameter) as refusal:
        await engine.embed(EmbedCall(("a",), dimensions=128))

    assert refusal.value.location == ("dimensions",)
    assert len((await engine.embed(EmbedCall(("a",), dimensions=384))).vectors[0]) == 384 * 4


async def test_dimensions_are_cut_and_normalised_where_the_card_allows(spec: EngineSpec) -> None:
    card = replace(spec.card, reducible_dimensions=True)
    async with running(replace(spec, card=card)) as engine:
        full = matrix(await engine.embed(EmbedCall(("a",))))[0]
        cut = matrix(await engine.embed(EmbedCall(("a",), dimensions=32)))[0]

    np.testing.assert_allclose(cut, full[:32] / np.linalg.norm(full[:32]), atol=1e-5)


async def test_input_type_puts_the_cards_prefix_first(spec: EngineSpec) -> None:
    card = replace(spec.card, prefixes={"query": "query: "})
    async with running(replace(spec, card=card)) as engine:
        query = await engine.embed(EmbedCall(("cats",), input_type="query"))
        spelt = await engine.embed(EmbedCall(("query: cats",)))
        document = await engine.embed(EmbedCall(("cats",), input_type="document"))
        bare = await engine.embed(EmbedCall(("cats",)))

    np.testing.assert_allclose(matrix(query), matrix(spelt), atol=1e-5)
    np.testing.assert_allclose(matrix(document), matrix(bare), atol=1e-5)
    assert (query.usage.prompt_tokens, bare.usage.prompt_tokens) == (5, 3)


@pytest.mark.parametrize(("pooling", "token"), [("cls", 0), ("last", -1)])
async def test_pooling_is_the_cards(spec: EngineSpec, pooling: str, token: int) -> None:
    # What the network itself gives for [CLS] hello [SEP].
    network = onnxruntime.InferenceSession(str(Path(spec.path) / "model.onnx"))
    inputs = {
        "input_ids": [[101, 7592, 102]],
        "attention_mask": [[1, 1, 1]],
        "token_type_ids": [[0, 0, 0]],
    }
    state = network.run(["last_hidden_state"], inputs)[0][0][token]
    card = replace(spec.card, pooling=pooling)

    async with running(replace(spec, card=card)) as engine:
        # The longer neighbour puts padding behind the last token.
        found = await engine.embed(EmbedCall(("hello", "a much longer text than that")))

    np.testing.assert_allclose(matrix(found)[0], state / np.linalg.norm(state), atol=1e-4)


async def test_no_texts_are_no_vectors(engine: OnnxEngine) -> None:
    found = await engine.embed(EmbedCall(()))

    assert found.vectors == ()
    assert found.usage.prompt_tokens == 0


async def test_images_are_not_a_text_models_business(engine: OnnxEngine) -> None:
    with pytest.raises(OperationNotSupported):
        await engine.embed_images(ImageEmbedCall((ImageInput(b""),)))


async def test_too_much_waiting_is_refused_at_once(spec: EngineSpec) -> None:
    async with running(replace(spec, options={"max_waiting_inputs": 10})) as engine:
        large = asyncio.create_task(engine.embed(EmbedCall(("text",) * 40)))
        await asyncio.sleep(0)  # lets it be accepted: an idle engine takes any one call
        with pytest.raises(Overloaded):
            await engine.embed(EmbedCall(("text",)))
        answer = await large
        after = await engine.embed(EmbedCall(("text",)))

    assert len(answer.vectors) == 40
    assert len(after.vectors) == 1


async def test_a_cancelled_call_leaves_nothing_behind(engine: OnnxEngine) -> None:
    large = asyncio.create_task(engine.embed(EmbedCall(("word " * 200,) * 500)))
    await asyncio.sleep(0)
    assert engine.health().active + engine.health().waiting == 1

    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large

    assert engine.health().active + engine.health().waiting == 0
    assert len((await engine.embed(EmbedCall(("next",)))).vectors) == 1


async def test_closing_refuses_what_waits_and_what_comes(spec: EngineSpec) -> None:
    engine = OnnxEngine(spec)
    await engine.start()
    large = asyncio.create_task(engine.embed(EmbedCall(("word " * 200,) * 50)))
    await asyncio.sleep(0)

    await engine.aclose()
    await engine.aclose()

    with pytest.raises(ModelUnavailable):
        await large
    with pytest.raises(ModelUnavailable):
        await engine.embed(EmbedCall(("next",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "blue"}, "unknown field `colour`; there are: variant, too_long"),
        ({"max_batch_tokens": 0}, "max_batch_tokens"),
        ({"too_long": "perhaps"}, "too_long"),
        ({"variant": "int4"}, "no file model_int4.onnx"),
    ],
)
async def test_wrong_options_are_refused_at_start(
    spec: EngineSpec, options: dict[str, str | int], message: str
) -> None:
    with pytest.raises(EngineFailed, match=message):
        await OnnxEngine(replace(spec, options=options)).start()


async def test_a_card_that_contradicts_its_files_is_refused_at_start(
    spec: EngineSpec, tmp_path: Path
) -> None:
    images = replace(spec.card, operations=("embed_images",))
    narrow = replace(spec.card, dimensions=100)
    folder = shutil.copytree(spec.path, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(EngineFailed, match="card says embed_images; its files can embed"):
        await OnnxEngine(replace(spec, card=images)).start()
    with pytest.raises(EngineFailed, match="gives 384 dimensions; its card says 100"):
        await OnnxEngine(replace(spec, card=narrow)).start()
    with pytest.raises(EngineFailed, match=r"tokenizer\.json cannot be used"):
        await OnnxEngine(replace(spec, path=str(folder))).start()
