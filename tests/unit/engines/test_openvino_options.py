"""What the `openvino` engine's runner is told."""

import os
from pathlib import Path

import msgspec
import pytest

from zaffre.core.cards import ModelCard
from zaffre.core.engine import EngineSpec
from zaffre.core.errors import EngineFailed
from zaffre.engines.openvino.options import IR_FILES, OPTIONS, load_order

CONFIG = {
    "max_position_embeddings": 131072,
    "num_hidden_layers": 32,
    "hidden_size": 3072,
    "num_attention_heads": 32,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like an export of OpenVINO."""
    for name in IR_FILES:
        (tmp_path / name).touch()
    return tmp_path


def _spec(folder: Path, threads: int = 2, **options: str | int) -> EngineSpec:
    card = ModelCard(name="m", format="openvino-ir", operations=("chat",))
    return EngineSpec(card=card, path=str(folder), threads=threads, options=options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"contextlength": 5}, "no option 'contextlength'; it has: batch_tokens"),
        ({"context_length": "512"}, "must be of type int"),
        ({"context_length": True}, "must be of type int"),
        ({"context_length": 1}, "must be between 64 and"),
        ({"device": 3}, "must be of type str"),
        ({"prefix_cache": 0}, "must be of type bool"),
    ],
)
def test_a_wrong_option_is_an_error(folder: Path, options: dict[str, str | int], told: str):
    """Given an option that is unknown or out of bounds, when it is read, then that is said."""
    with pytest.raises(EngineFailed, match=told):
        load_order(_spec(folder, **options))


def test_every_option_is_in_the_table():
    """Given the options, when the module is read, then each has its row."""
    source = Path(load_order.__code__.co_filename).read_text()
    assert all(f"| `{name}` |" in source for name in OPTIONS)


@pytest.mark.parametrize("name", IR_FILES)
def test_each_file_of_a_folder_is_missed(folder: Path, name: str):
    """Given a folder that lacks one file, when it is read, then that file is named."""
    (folder / name).unlink()
    with pytest.raises(EngineFailed, match=name):
        load_order(_spec(folder))


def test_the_context_is_what_the_model_was_trained_on(folder: Path):
    """Given a configuration, when no option says less, then its length counts."""
    (folder / "config.json").write_bytes(msgspec.json.encode(CONFIG))
    assert load_order(_spec(folder)).context_length == 131072
    assert load_order(_spec(folder, context_length=1024)).context_length == 1024
    assert load_order(_spec(folder, context_length=2**20)).context_length == 131072


def test_a_broken_configuration_is_an_error(folder: Path):
    """Given a configuration that is no JSON, when it is read, then its place is named."""
    (folder / "config.json").write_text("{")
    with pytest.raises(EngineFailed, match=r"config\.json"):
        load_order(_spec(folder))


def test_the_cache_has_a_bound(folder: Path):
    """Given a model with a huge context, when nothing is said, then memory bounds the cache."""
    (folder / "config.json").write_bytes(msgspec.json.encode(CONFIG))
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    assert 1 <= load_order(_spec(folder)).cache_size_gb <= max(1, memory_gb / 4)
    assert load_order(_spec(folder, cache_size_gb=3)).cache_size_gb == 3


@pytest.mark.parametrize(("threads", "tokens"), [(1, 64), (4, 256), (64, 512)])
def test_more_threads_take_more_tokens_per_step(folder: Path, threads: int, tokens: int):
    """Given threads, when nothing is said, then a step has so many tokens, within a bound."""
    assert load_order(_spec(folder, threads)).batch_tokens == tokens
