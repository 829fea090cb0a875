"""The catalogue: what is in it holds together, and what is wrong with one is told."""

import pytest

from zaffre.registry.catalogue import catalogue, look_up, read_catalogue, starters
from zaffre.registry.errors import InvalidCatalogue, InvalidModelName, NotInCatalogue

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
        # What the licences ask for: their text goes where the weights go.
        assert any(file.name.startswith("LICENSE") for file in model.files)


def test_one_file_has_one_digest_everywhere() -> None:
    digests: dict[tuple[str, str], str] = {}
    for model in catalogue():
        for package in model.packages:
            for file in package.files:
                known = digests.setdefault((package.requirement, file.path), file.sha256)
                assert known == file.sha256


def test_a_model_is_looked_up_by_name() -> None:
    assert look_up("all-minilm-l6-v2").card.dimensions == 384
    with pytest.raises(NotInCatalogue, match=r"has no model 'nothing'; it has: smollm2-135m"):
        look_up("nothing")


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
