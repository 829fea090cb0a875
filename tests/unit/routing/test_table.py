"""The table of deployments: which one a request means."""

import pytest

from zaffre.core.calls import OPERATIONS, Operation
from zaffre.core.cards import ModelCard
from zaffre.core.errors import NoModel, OperationNotSupported, UnknownModel
from zaffre.core.plan import DeploymentPlan, EndpointPlan
from zaffre.routing.deployments import Deployment
from zaffre.routing.table import Draw, Endpoint, Selector, Table, Target

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
    ids=lambda value: value.full_name if isinstance(value, Deployment) else str(value),
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


class Asked:
    """Permits all but what it is told to hide, and counts how often it is asked."""

    def __init__(self, *hidden: str) -> None:
        self.hidden = hidden
        self.times = 0

    def __call__(self, target: Target, _deployment: Deployment) -> bool:
        self.times += 1
        return target.name not in self.hidden


def _questions(table: Table, name: str, permitted: Asked) -> int:
    """How often it is asked what a caller may see, for one request."""
    try:
        table.resolve(Selector(model=name), "chat", FIRST, permitted)
    except UnknownModel:
        assert name in ("nobody", *permitted.hidden)
    return permitted.times


@pytest.mark.parametrize("name", ["m1", "nobody"])
def test_a_name_costs_the_same_in_a_large_table(name: str):
    small, large = (Table([deployment(f"m{i}", "chat") for i in range(n)]) for n in (3, 300))

    assert _questions(small, name, Asked()) == _questions(large, name, Asked()) <= 3


def test_a_hidden_name_costs_what_a_missing_one_costs():
    """Given targets of all widths, of which a caller may see two, then it cannot tell by the time
    whether another name is there."""
    endpoints = [
        Endpoint(
            EndpointPlan(name=name, traffic={"d0": 100}),
            {f"d{i}": deployment(f"d{i}", "chat") for i in range(width)},
        )
        for name, width in (("narrow", 1), ("wide", 4), ("empty", 0))
    ]
    roots = [deployment(name, "chat") for name in ("seen", "secret", "shown")]
    table = Table(roots, endpoints)
    hidden = ("secret", "narrow", "wide", "empty")

    costs = {name: _questions(table, name, Asked(*hidden)) for name in (*hidden, "nobody")}

    assert len(set(costs.values())) == 1, costs
