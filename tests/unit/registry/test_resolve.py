"""Resolving: from what a deployment says to a model that is here, or that can be brought."""

from pathlib import Path

import pytest

from zaffre.registry.catalogue import look_up
from zaffre.registry.errors import InvalidReference, ModelDamaged, NotInCatalogue, NotMapped
from zaffre.registry.references import HubReference, parse_reference
from zaffre.registry.resolve import NeedsPull, resolve
from zaffre.registry.store import (
    CARD_FILE,
    ORIGIN_FILE,
    InstalledModel,
    ModelStore,
    Origin,
    write_record,
)

REFERENCE = "hf:tiny/text:quantized"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


def put(store: ModelStore, name: str) -> Path:
    """A model in the store."""
    folder = store.folder(name)
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(
        f'{{"name": "{name}", "format": "onnx", "operations": ["embed"]}}'
    )
    return folder


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("phi-3-mini", "phi-3-mini"),
        ("azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/1", "phi-3-mini"),
        (REFERENCE, parse_reference(REFERENCE).store_name),
    ],
)
def test_what_is_not_here_needs_a_pull(store: ModelStore, model: str, name: str) -> None:
    found = resolve(model, store)

    assert isinstance(found, NeedsPull)
    assert found.name == name


@pytest.mark.parametrize("model", ["mine", REFERENCE, "phi-4"])
def test_what_is_here_is_found(store: ModelStore, model: str) -> None:
    name = parse_reference(model).store_name if model == REFERENCE else model
    put(store, name)

    found = resolve(model, store)

    assert isinstance(found, InstalledModel)
    assert found.card.name == name


def test_a_card_of_yesterday_needs_a_pull(store: ModelStore) -> None:
    model = look_up("bge-small-en-v1.5")
    folder = put(store, model.name)
    write_record(folder / ORIGIN_FILE, Origin(model.recipe, (), ()))

    assert resolve(model.name, store) == NeedsPull(model)


def test_a_damaged_model_is_pulled_again_where_one_knows_from_where(store: ModelStore) -> None:
    (put(store, "mine") / CARD_FILE).write_text("{")
    (put(store, parse_reference(REFERENCE).store_name) / CARD_FILE).write_text("{")

    assert resolve(REFERENCE, store) == NeedsPull(HubReference("tiny/text", file="quantized"))
    with pytest.raises(ModelDamaged):
        resolve("mine", store)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("Phi-3", NotInCatalogue),
        ("../etc", NotInCatalogue),
        ("hf:", InvalidReference),
        ("azureml://registries/azureml/models/Nothing-1", NotMapped),
        ("azureml:mine:1", InvalidReference),
    ],
)
def test_what_nobody_knows_is_told(store: ModelStore, model: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        resolve(model, store)
