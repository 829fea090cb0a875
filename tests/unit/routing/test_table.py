"""The table of deployments: which one a request means."""

import pytest

from zaffre.core.calls import OPERATIONS, Operation
from zaffre.core.cards import ModelCard
from zaffre.core.errors import NoModel, OperationNotSupported, UnknownModel
from zaffre.routing.replicas import Replica
from zaffre.routing.table import Deployment, Selector, Table


def deployment(name: str, *operations: Operation) -> Deployment:
    card = ModelCard(name=f"{name}-model", format="echo", operations=operations)
    return Deployment(name, card, "echo", Replica(name, max_calls=1), 0)


CHAT = deployment("Talker", "chat", "complete")
OTHER = deployment("other", "chat")
VECTORS = deployment("vectors", "embed")
IMAGES = deployment("images", "embed", "embed_images")
TABLE = Table([CHAT, OTHER, VECTORS, IMAGES], {"chat": "OTHER"})


@pytest.mark.parametrize(
    ("selector", "operation", "expected"),
    [
        (Selector(), "chat", OTHER),
        (Selector(), "complete", CHAT),
        (Selector(), "embed", VECTORS),
        (Selector(), "embed_images", IMAGES),
        (Selector(model="talker"), "chat", CHAT),
        (Selector(model="TALKER"), "complete", CHAT),
        (Selector(mesh_model="Talker"), "chat", CHAT),
        (Selector(deployment="talkeR"), "chat", CHAT),
        (Selector("talker", "other", "nothing"), "chat", CHAT),
        (Selector(None, "other", "talker"), "chat", OTHER),
        (Selector("", "", "talker"), "chat", CHAT),
        (Selector(model="images"), "embed", IMAGES),
    ],
    ids=str,
)
def test_the_first_name_that_is_there_counts(
    selector: Selector, operation: Operation, expected: Deployment
):
    assert TABLE.resolve(selector, operation) is expected


@pytest.mark.parametrize(
    "selector",
    [Selector(model="gpt-4"), Selector(mesh_model="talker-model"), Selector("nothing", "talker")],
    ids=str,
)
def test_another_name_is_unknown(selector: Selector):
    with pytest.raises(UnknownModel):
        TABLE.resolve(selector, "chat")
    with pytest.raises(UnknownModel):
        TABLE.describe(selector)


@pytest.mark.parametrize(("name", "operation"), [("talker", "embed"), ("vectors", "chat")])
def test_a_named_model_without_the_operation_is_not_passed_over(name: str, operation: Operation):
    with pytest.raises(OperationNotSupported, match="not found"):
        TABLE.resolve(Selector(model=name), operation)


def test_an_operation_that_nobody_can_do_is_not_found():
    table = Table([CHAT, OTHER])
    with pytest.raises(OperationNotSupported, match="not found") as refused:
        table.resolve(Selector(), "embed")
    assert refused.value.message.endswith("which supports: chat, complete.")


def test_one_model_answers_to_any_name_but_not_as_any_deployment():
    table = Table([VECTORS])
    for selector in (Selector(), Selector(model="gpt-4"), Selector(mesh_model="ada")):
        assert table.resolve(selector, "embed") is VECTORS
        assert table.describe(selector) is VECTORS
        with pytest.raises(OperationNotSupported):
            table.resolve(selector, "chat")
    with pytest.raises(UnknownModel):
        table.resolve(Selector(deployment="blue"), "embed")


def test_without_models_there_is_none_to_answer():
    table = Table([])
    for operation in OPERATIONS:
        with pytest.raises(NoModel):
            table.resolve(Selector(), operation)
        with pytest.raises(UnknownModel):
            table.resolve(Selector(model="a"), operation)
    with pytest.raises(NoModel):
        table.describe(Selector())


def test_info_is_about_the_first_default_or_the_first_of_all():
    assert TABLE.describe(Selector()) is OTHER
    assert TABLE.describe(Selector(model="Vectors")) is VECTORS
    assert Table([CHAT, OTHER]).describe(Selector()) is CHAT
    assert Table([CHAT, VECTORS], {"embed": "vectors"}).describe(Selector()) is VECTORS


def test_deployments_are_listed_as_they_were_declared():
    assert list(TABLE) == [CHAT, OTHER, VECTORS, IMAGES]
