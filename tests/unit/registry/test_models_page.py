"""The page about models: it tells of every model of the catalogue, and of no other."""

import re
from pathlib import Path

from zaffre.registry.catalogue import catalogue, from_azure_id
from zaffre.registry.choice import readable_size
from zaffre.registry.resolve import find_pullable, store_name

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "models.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under `heading`, without code marks."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_every_model_of_the_catalogue_has_its_row() -> None:
    expected = [
        [
            model.name,
            ", ".join(model.card.operations),
            readable_size(model.download_bytes),
            model.card.license,
            str(model.reference or "packages").removeprefix("hf:"),
        ]
        for model in catalogue()
    ]

    assert rows("The catalogue") == expected


def test_every_name_of_azure_leads_where_the_page_says() -> None:
    found = rows("Azure's names")

    assert len(found) > 5
    for azure, name in found:
        assert from_azure_id(f"azureml://registries/azureml/models/{azure}/versions/1") == name


def test_the_examples_name_models_that_can_be_pulled() -> None:
    examples = re.findall(r"^\$ zaffre pull (\S+)", PAGE.read_text(), re.MULTILINE)

    short, long = [store_name(find_pullable(example)) for example in examples]
    assert short == "phi-3-mini"
    assert long.startswith("qwen-qwen2.5-0.5b-instruct-gguf-q4_k_m-")
