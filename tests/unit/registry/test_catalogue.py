"""The catalogue: what is in it holds together, and what is wrong with one is told."""

import pytest

from zaffre.registry.catalogue import (
    catalogue,
    from_azure_id,
    is_azure_id,
    look_up,
    read_catalogue,
    starters,
)
from zaffre.registry.errors import (
    InvalidCatalogue,
    InvalidModelName,
    InvalidReference,
    NotInCatalogue,
    NotMapped,
)
from zaffre.registry.references import parse_reference

ENTRY = """
[[models]]
[models.card]
name = "tiny"
format = "onnx"
operations = ["embed"]
[[models.packages]]
requirement = "tiny-weights==1.0"
size_bytes = 10
[[models.packages.files]]
path = "tiny/model.onnx"
name = "model.onnx"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
size_bytes = 10
"""

HUB_ENTRY = """
[[models]]
[models.card]
name = "tiny"
format = "gguf"
operations = ["chat"]
[models.hub]
repository = "tiny/Tiny-GGUF"
size_bytes = 10
"""


def test_starters_cover_every_modality() -> None:
    found = {model.name: model.card.operations for model in starters()}

    assert found == {
        "smollm2-135m-instruct": ("chat", "complete"),
        "all-minilm-l6-v2": ("embed",),
        "conse-efficientnet-lite0-minilm": ("embed_images", "embed"),
    }


def test_every_model_says_whose_it_is_and_what_one_may_do_with_it() -> None:
    for model in catalogue():
        assert model.card.provider != "unknown"
        assert model.card.license != "unknown"
        assert len(model.card.description) > 20
        # What the licences ask for: their text goes where the weights go. A hub has it or not.
        assert model.hub or any(file.name.startswith("LICENSE") for file in model.files)


def test_models_of_a_hub_promise_no_bytes() -> None:
    models = [model for model in catalogue() if model.hub is not None]

    assert {"phi-3-mini", "llama-3.2-1b", "qwen2.5-0.5b", "mistral-7b", "bge-m3"} <= {
        model.name for model in models
    }
    for model in models:
        assert model.files == ()
        assert not model.starter
        assert model.reference is not None
        assert parse_reference(str(model.reference)) == model.reference
        assert model.download_bytes > 50_000_000


def test_queries_and_documents_are_told_apart_where_the_makers_do() -> None:
    assert look_up("multilingual-e5-small").card.prefixes == {
        "text": "query: ",
        "query": "query: ",
        "document": "passage: ",
    }
    assert "document" not in look_up("bge-small-en-v1.5").card.prefixes


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/11", "phi-3-mini"),
        ("azureml://registries/azureml/models/phi-3-mini-4k-instruct", "phi-3-mini"),
        ("azureml://registries/azureml/models/Phi-4/labels/latest", "phi-4"),
        ("azureml://registries/azureml-meta/models/Llama-3.2-1B-Instruct", "llama-3.2-1b"),
    ],
)
def test_a_model_of_azure_is_one_of_ours(text: str, name: str) -> None:
    assert is_azure_id(text)
    assert from_azure_id(text) == name


def test_a_model_of_azure_that_nobody_knows_is_told_with_those_alike() -> None:
    with pytest.raises(NotMapped, match=r"It knows 'Phi-4'.*`model: hf:OWNER/REPOSITORY`"):
        from_azure_id("azureml://registries/azureml/models/Phi-5/versions/1")


@pytest.mark.parametrize(
    "text",
    [
        "azureml:my-model:1",
        "azureml://registries/azureml/models/",
        "azureml://models/Phi-4",
        "Phi-4",
    ],
)
def test_what_is_no_id_of_a_registry_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="azureml://registries/azureml/models/MODEL"):
        from_azure_id(text)


def test_one_file_has_one_digest_everywhere() -> None:
    digests: dict[tuple[str, str], str] = {}
    for model in catalogue():
        for package in model.packages:
            for file in package.files:
                known = digests.setdefault((package.requirement, file.path), file.sha256)
                assert known == file.sha256


def test_a_model_is_looked_up_by_name() -> None:
    assert look_up("all-minilm-l6-v2").card.dimensions == 384
    with pytest.raises(
        NotInCatalogue, match=r"has no model 'all-minilm'\. Did you mean 'all-minilm-l6"
    ):
        look_up("all-minilm")


def test_a_recipe_changes_with_the_files_and_not_with_the_card() -> None:
    (model,) = read_catalogue(ENTRY)
    (other,) = read_catalogue(ENTRY.replace("0000", "1111", 1))
    (retold,) = read_catalogue(ENTRY.replace('format = "onnx"', 'format = "onnx"\ntitle = "T"'))
    (again,) = read_catalogue(ENTRY.replace("[[models]]", "[[models]]\nprepared = 1"))

    assert model.recipe == retold.recipe
    assert len({model.recipe, other.recipe, again.recipe}) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "model.onnx"', 'name = "../model.onnx"', "name"),
        ('name = "model.onnx"', 'name = "a/model.onnx"', "name"),
        ('name = "model.onnx"', 'name = ".hidden"', "name"),
        ('name = "model.onnx"', 'name = "card.json"', "reserved name"),
        ("tiny-weights==1.0", "tiny-weights", "requirement"),
        ("tiny-weights==1.0", "--index-url=x", "requirement"),
        ("tiny-weights==1.0", "tiny-weights @ https://example.org/x", "requirement"),
        ("0000000000000000000000000000000000000000000000000000000000000000", "00", "sha256"),
        ("size_bytes = 10", "size_bytes = 0", "size_bytes"),
        ('format = "onnx"', 'format = "pickle"', "format"),
        ("[[models]]", "[[models]]\nsurprise = 1", "surprise"),
        ("[[models]]", "[[models", "not valid"),
    ],
)
def test_a_wrong_entry_is_told_with_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidCatalogue, match=message):
        read_catalogue(ENTRY.replace(old, new, 1))


def test_names_are_those_of_the_store_and_used_once() -> None:
    with pytest.raises(InvalidModelName):
        read_catalogue(ENTRY.replace('name = "tiny"', 'name = "../tiny"'))
    with pytest.raises(InvalidCatalogue, match="two models of one name"):
        read_catalogue(ENTRY + ENTRY)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (HUB_ENTRY.replace("tiny/Tiny-GGUF", "../etc"), "names no model on a hub"),
        (HUB_ENTRY + ENTRY.partition("[[models.packages]]")[1], "packages"),
        (HUB_ENTRY.partition("[models.hub]")[0], "needs either packages or a hub"),
        ('[azure_ids]\n"Phi-9" = "phi-9"\n' + HUB_ENTRY, "azure_ids lead to phi-9"),
    ],
)
def test_a_wrong_entry_of_a_hub_is_told(entry: str, message: str) -> None:
    with pytest.raises((InvalidCatalogue, InvalidReference), match=message):
        read_catalogue(entry)
