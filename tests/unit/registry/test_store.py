"""The store: whole models or none, and names that stay inside it."""

import subprocess
import sys
from pathlib import Path

import pytest

from zaffre.core.cards import ModelCard
from zaffre.registry.errors import InvalidModelName, ModelDamaged, ModelNotInstalled
from zaffre.registry.store import (
    CARD_FILE,
    ORIGIN_FILE,
    ModelStore,
    Origin,
    StoredFile,
    default_home,
    write_record,
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def put(store: ModelStore, name: str, *, kind: str = "onnx", files: tuple[str, ...] = ()) -> Path:
    """A model as a person would put it there: a card and files."""
    folder = store.home / "models" / name
    folder.mkdir(parents=True)
    card = f'{{"name": "{name}", "format": "{kind}", "operations": ["embed"]}}'
    (folder / CARD_FILE).write_text(card)
    for file in files:
        (folder / file).write_bytes(b"12345")
    return folder


@pytest.mark.parametrize(
    ("environ", "home"),
    [
        (
            {"ZAFFRE_HOME": "/srv/zaffre", "XDG_DATA_HOME": "/data", "HOME": "/home/me"},
            "/srv/zaffre",
        ),
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/me"}, "/data/zaffre"),
        ({"XDG_DATA_HOME": "not/absolute", "HOME": "/home/me"}, "/home/me/.local/share/zaffre"),
        ({"ZAFFRE_HOME": "", "HOME": "/home/me"}, "/home/me/.local/share/zaffre"),
        ({}, str(Path.home() / ".local" / "share" / "zaffre")),
    ],
)
def test_home_is_where_the_environment_says(environ: dict[str, str], home: str) -> None:
    assert str(default_home(environ)) == home


def test_a_new_store_is_empty_and_makes_nothing(store: ModelStore) -> None:
    assert store.installed() == []
    assert store.damaged() == []
    assert not store.home.exists()


def test_a_model_is_found_by_its_card(store: ModelStore) -> None:
    folder = put(store, "mine", files=("model.onnx",))

    found = store.find("mine")

    assert found.card == ModelCard(name="mine", format="onnx", operations=("embed",))
    assert found.path == found.folder == folder
    assert found.origin is None
    assert found.size_bytes == 5 + (folder / CARD_FILE).stat().st_size
    assert store.installed() == [found]


@pytest.mark.parametrize(
    ("files", "opened"),
    [
        (("weights.gguf",), "weights.gguf"),
        (("weights.gguf", "mmproj-weights.gguf"), "weights.gguf"),
        (("w-00002-of-00002.gguf", "w-00001-of-00002.gguf"), "w-00001-of-00002.gguf"),
    ],
)
def test_of_a_gguf_model_the_file_is_opened(
    store: ModelStore, files: tuple[str, ...], opened: str
) -> None:
    folder = put(store, "chat", kind="gguf", files=files)

    assert store.find("chat").path == folder / opened


@pytest.mark.parametrize(
    ("files", "why"), [((), "no .gguf file"), (("a.gguf", "b.gguf"), "several models: a.gguf, b")]
)
def test_a_gguf_model_of_no_or_many_files_is_damaged(
    store: ModelStore, files: tuple[str, ...], why: str
) -> None:
    put(store, "chat", kind="gguf", files=files)

    with pytest.raises(ModelDamaged, match=why):
        store.find("chat")


def test_what_is_not_there_is_told_with_the_way_to_get_it(store: ModelStore) -> None:
    with pytest.raises(ModelNotInstalled, match="`zaffre models pull other`"):
        store.find("other")
    with pytest.raises(ModelNotInstalled):
        store.remove("other")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc",
        "a..b",
        ".hidden",
        "UPPER",
        "x" * 97,
        "a\n",
        "é",
    ],
)
def test_names_that_are_no_folders_of_the_store_are_refused(store: ModelStore, name: str) -> None:
    for use in (store.find, store.remove, store.folder, store.partial):
        with pytest.raises(InvalidModelName):
            use(name)


@pytest.mark.parametrize("name", ["a", "phi-3.5-mini", "0", "x" * 96, "a_b.c-d"])
def test_usual_names_are_taken(store: ModelStore, name: str) -> None:
    assert store.folder(name).name == name


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ("{", "card.json cannot be read"),
        ("[]", "card.json cannot be read"),
        ('{"name": "x", "format": "zip", "operations": []}', "card.json cannot be read"),
        (None, "no card.json"),
    ],
)
def test_a_broken_card_is_damage_that_spoils_no_listing(
    store: ModelStore, card: str | None, why: str
) -> None:
    put(store, "good")
    folder = put(store, "bad")
    (folder / CARD_FILE).unlink() if card is None else (folder / CARD_FILE).write_text(card)

    with pytest.raises(ModelDamaged, match=why):
        store.find("bad")
    assert [model.card.name for model in store.installed()] == ["good"]
    assert [damage.name for damage in store.damaged()] == ["bad"]


@pytest.mark.parametrize(
    ("content", "why"), [(None, "is missing"), (b"1234", "has 4 bytes instead of 5")]
)
def test_a_missing_or_cut_file_is_damage(
    store: ModelStore, content: bytes | None, why: str
) -> None:
    folder = put(store, "model", files=("model.onnx",))
    write_record(folder / ORIGIN_FILE, Origin("r", (), (StoredFile("model.onnx", "0" * 64, 5),)))
    assert store.find("model").origin is not None

    path = folder / "model.onnx"
    path.unlink() if content is None else path.write_bytes(content)

    with pytest.raises(ModelDamaged, match=why):
        store.find("model")


def test_removing_a_model_removes_all_of_it_and_nothing_else(store: ModelStore) -> None:
    put(store, "kept")
    put(store, "gone", files=("model.onnx",))

    store.remove("gone")

    assert [model.card.name for model in store.installed()] == ["kept"]
    assert not store.folder("gone").exists()
    assert not store.partial("gone").exists()


def test_a_damaged_model_can_be_removed(store: ModelStore) -> None:
    (put(store, "bad") / CARD_FILE).write_text("{")

    store.remove("bad")

    assert store.damaged() == []


def test_a_link_out_of_the_store_is_not_followed_when_it_is_removed(
    store: ModelStore, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    folder = put(store, "model")
    (folder / "link").symlink_to(elsewhere)

    store.remove("model")

    assert (elsewhere / "precious").read_text() == "x"


def test_a_new_card_replaces_the_old_one_whole(store: ModelStore) -> None:
    put(store, "model")
    card = ModelCard(name="model", format="onnx", operations=("embed",), title="Better")

    found = store.replace_card(card)

    assert found.card == card
    assert store.find("model").card == card


def test_the_gateways_side_of_the_registry_is_light() -> None:
    # The gateway imports these in its first second; the heavy libraries are the engines'.
    heavy = {"numpy", "onnx", "onnxruntime", "tokenizers", "PIL", "rich", "typer"}
    program = (
        "import sys; import zaffre.registry.pull, zaffre.registry.wheels;"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert loaded.stdout.strip() == "[]"
