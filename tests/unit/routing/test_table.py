"""The table of deployments: which one a request means."""

import pytest

from zaffre.core.calls import OPERATIONS, Operation
from zaffre.core.cards import ModelCard
from zaffre.core.errors import NoModel, OperationNotSupported, UnknownModel
from zaffre.core.plan import DeploymentPlan
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Draw, Selector, Table

FIRST = Draw(0, 0)


def deployment(name: str, *operations: Operation) -> Deployment:
    card = ModelCard(name=f"{name}-model", format="echo", operations=operations)
    plan = DeploymentPlan(name=name, model="echo")
    return Deployment(plan, card, "echo", max_calls=1, created=0)


def resolve(table: Table, selector: Selector, operation: Operation) -> Deployment:
    return table.resolve(selector, operation, FIRST).deployment


CHAT = deployment("Talker", "chat", "complete")
OTHER = deployment("other", "chat")
VECTORS = deployment("vectors", "embed")
IMAGES = deployment("images", "embed", "embed_images")
TABLE = Table([CHAT, OTHER, VECTORS, IMAGES], defaults={"chat": "OTHER"})


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
    assert resolve(TABLE, selector, operation) is expected


@pytest.mark.parametrize(
    "selector",
    [Selector(model="gpt-4"), Selector(mesh_model="talker-model"), Selector("nothing", "talker")],
    ids=str,
)
def test_another_name_is_unknown(selector: Selector):
    with pytest.raises(UnknownModel):
        resolve(TABLE, selector, "chat")
    with pytest.raises(UnknownModel):
        TABLE.describe(selector)


@pytest.mark.parametrize(("name", "operation"), [("talker", "embed"), ("vectors", "chat")])
def test_a_named_model_without_the_operation_is_not_passed_over(name: str, operation: Operation):
    with pytest.raises(OperationNotSupported, match="not found"):
        resolve(TABLE, Selector(model=name), operation)


def test_an_operation_that_nobody_can_do_is_not_found():
    table = Table([CHAT, OTHER])
    with pytest.raises(OperationNotSupported, match="not found") as refused:
        resolve(table, Selector(), "embed")
    assert refused.value.message.endswith("which supports: chat, complete.")


def test_one_model_answers_to_any_name_but_not_as_any_deployment():
    table = Table([VECTORS])
    for selector in (Selector(), Selector(model="gpt-4"), Selector(mesh_model="ada")):
        assert resolve(table, selector, "embed") is VECTORS
        assert table.describe(selector) == ("vectors", VECTORS)
        with pytest.raises(OperationNotSupported):
            resolve(table, selector, "chat")
    with pytest.raises(UnknownModel):
        resolve(table, Selector(deployment="blue"), "embed")


def test_without_models_there_is_none_to_answer():
    table = Table([])
    for operation in OPERATIONS:
        with pytest.raises(NoModel):
            resolve(table, Selector(), operation)
        with pytest.raises(UnknownModel):
            resolve(table, Selector(model="a"), operation)
    with pytest.raises(NoModel):
        table.describe(Selector())


def test_info_is_about_the_first_default_or_the_first_of_all():
    assert TABLE.describe(Selector()) == ("other", OTHER)
    assert TABLE.describe(Selector(model="Vectors")) == ("vectors", VECTORS)
    assert Table([CHAT, OTHER]).describe(Selector()) == ("Talker", CHAT)
    table = Table([CHAT, VECTORS], defaults={"embed": "vectors"})
    assert table.describe(Selector()) == ("vectors", VECTORS)


def test_deployments_are_listed_as_they_were_declared():
    assert list(TABLE.deployments()) == [CHAT, OTHER, VECTORS, IMAGES]
