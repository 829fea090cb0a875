"""What upstreams can do: as declared, else as they say, else as usual; and what all of them can."""

from typing import Any

import msgspec
import pytest
from scripted_servers import Scene

from zaffre.core.calls import ChatCall, EmbedCall, Sampling, TextPart, UserMessage
from zaffre.core.capabilities import ANY, Capabilities, Range, check
from zaffre.core.errors import EngineFailed, OutOfRange, UnsupportedParameter
from zaffre.core.plan import Upstream
from zaffre.upstream.foreign.capabilities import Probed, common, describe, read_info, read_models
from zaffre.upstream.foreign.wire import ForeignInfo, ForeignModels

ZAFFRE = Capabilities(
    model="echo",
    engine="echo",
    provider="acme",
    operations=frozenset(("chat", "embed", "embed_images")),
    parameters={"temperature": Range(0, 1), "top_k": Range(1)},
    content_parts=frozenset(("text",)),
    formats=frozenset(("text", "json_object")),
    context_length=4096,
    dimensions=8,
)


def declared(probed: Probed | None = None, **fields: Any) -> Capabilities:
    return describe("m", Upstream(url="http://x", **fields), probed or Probed())


def models(*rows: dict[str, Any]) -> ForeignModels:
    return msgspec.convert({"data": list(rows)}, ForeignModels)


def asking(**sampling: Any) -> ChatCall:
    return ChatCall((UserMessage((TextPart("hi"),)),), Sampling(**sampling))


def test_what_nobody_says_is_what_the_dialect_has():
    usual = declared()
    assert (usual.model, usual.engine) == ("m", "upstream")
    assert usual.operations == {"chat", "complete"}
    check(asking(n=2, logprobs=3, temperature=0.5, logit_bias={1: 2.0}), usual)
    with pytest.raises(UnsupportedParameter):
        check(asking(top_k=3), usual)
    with pytest.raises(UnsupportedParameter):
        check(asking(n=2), declared(dialect="azure-inference"))


def test_what_is_declared_is_what_counts():
    narrow = declared(
        operations=("chat",),
        parameters=("temperature", "top_k"),
        content_parts=("text",),
        formats=("json_object",),
        tools=False,
        context_length=100,
    )
    check(asking(temperature=0.5, top_k=3), narrow)
    with pytest.raises(UnsupportedParameter):
        check(asking(seed=3), narrow)
    assert narrow.operations == {"chat"}
    assert narrow.content_parts == {"text"}
    assert narrow.formats == {"text", "json_object"}
    assert narrow.tool_choices == frozenset()
    assert narrow.context_length == 100


def test_vectors_of_unknown_length_may_be_asked_for_shorter():
    able = declared(operations=("embed",))
    check(EmbedCall(("a",), dimensions=64), able)
    with pytest.raises(OutOfRange):
        check(EmbedCall(("a",), dimensions=0), able)
    with pytest.raises(OutOfRange):
        check(EmbedCall(("a",), dimensions=64), declared(operations=("embed",), dimensions=32))
    with pytest.raises(UnsupportedParameter):
        check(EmbedCall(("a",), dimensions=64), declared(operations=("embed",), parameters=()))


def test_input_types_belong_to_azure_inference():
    call = EmbedCall(("a",), input_type="query")
    check(call, declared(dialect="azure-inference", operations=("embed",)))
    check(call, declared(operations=("embed",), parameters=("input_type",)))
    with pytest.raises(UnsupportedParameter):
        check(call, declared(operations=("embed",)))


def test_another_zaffre_says_all():
    row = {"id": "Echo", "owned_by": "acme", "capabilities": msgspec.to_builtins(ZAFFRE)}
    probed = read_models(models({"id": "other"}, row), "echo")
    found = declared(probed)
    assert found.operations == {"chat", "embed"}  # images are not in this dialect
    assert found.parameters == ZAFFRE.parameters
    assert found.formats == ZAFFRE.formats
    assert (found.provider, found.context_length, found.dimensions) == ("acme", 4096, 8)
    assert declared(probed, dialect="azure-inference").operations == ZAFFRE.operations
    assert declared(probed, parameters=("seed", "top_k")).parameters == {
        "seed": Range(-(2**63), 2**63 - 1),
        "top_k": Range(1),
    }


@pytest.mark.parametrize(
    ("row", "context_length"),
    [
        ({"id": "m", "owned_by": "vllm", "max_model_len": 2048}, 2048),
        ({"id": "/a/file.gguf", "meta": {"n_ctx_train": 8192, "n_params": 1}}, 8192),
        ({"id": "m", "capabilities": {"chat_completion": True}, "owned_by": None}, None),
        ({"id": "m", "capabilities": ["completion"], "meta": None}, None),
    ],
    ids=str,
)
def test_lists_of_other_servers(row: dict[str, Any], context_length: int | None):
    found = declared(read_models(models(row), "m"))
    assert found.operations == {"chat", "complete"}
    assert found.context_length == context_length


def test_a_model_that_is_not_listed_is_not_known():
    assert read_models(models({"id": "a"}, {"id": "b"}), "m") == Probed()
    assert read_models(models(), "m") == Probed()


@pytest.mark.parametrize(
    ("word", "operations"),
    [
        ("chat-completion", ("chat", "complete")),
        ("chat_completions", ("chat", "complete")),
        ("Chat completion", ("chat", "complete")),
        ("completion", ("chat", "complete")),
        ("embeddings", ("embed",)),
        ("embedding", ("embed",)),
        ("text-embeddings", ("embed",)),
        ("image-embeddings", ("embed_images",)),
        ("image_embeddings", ("embed_images",)),
        ("audio-generation", ()),
        (None, ()),
    ],
)
def test_words_of_info(word: str | None, operations: tuple[str, ...]):
    info = ForeignInfo("m", word, "acme")
    assert read_info(info) == Probed(operations, "acme")  # type: ignore[arg-type]


def test_a_pool_can_what_all_can():
    one = declared(Probed(record=ZAFFRE, operations=("chat", "embed")))
    other = declared(operations=("chat",), parameters=("temperature", "seed"), context_length=100)
    both = common("m", [one, other])
    assert both.operations == {"chat"}
    assert both.parameters == {"temperature": Range(0, 1)}
    assert both.context_length == 100
    assert both.dimensions == 8
    assert ANY not in both.parameters.values()


async def test_what_does_not_fit_together_does_not_start():
    nothing = Scene(one={"operations": ("chat",)}, two={"operations": ("embed",)})
    with pytest.raises(EngineFailed, match="no operation in common"):
        await nothing.pool.start()
    lengths = Scene(one={"dimensions": 8}, two={"dimensions": 16})
    with pytest.raises(EngineFailed, match="8, 16"):
        await lengths.pool.start()
