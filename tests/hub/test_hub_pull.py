"""Pulling from a hub: the right files, whole, verified, recorded, and once."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_models import gguf_bytes, text_model_files, tower_files
from hub_server import Fault, HubServer

from zaffre.core.engine import EngineSpec
from zaffre.engines.onnx.model import OnnxModel, OnnxOptions
from zaffre.registry.detect import choose
from zaffre.registry.errors import PullFailed
from zaffre.registry.pull import PullStep
from zaffre.registry.references import parse_reference
from zaffre.registry.store import HubOrigin, InstalledModel, ModelStore

Pull = Callable[..., InstalledModel]

QUANTISED = {
    "README.md": b"# Tiny",
    "LICENSE": b"MIT licence",
    "tiny-Q4_K_M.gguf": gguf_bytes(16),
    "tiny-Q8_0.gguf": gguf_bytes(32),
    "config.py": b"import os",
}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_gguf_is_chosen_by_quantisation_verified_and_recorded(
    hub: HubServer, store: ModelStore, pull: Pull, steps: list[PullStep]
) -> None:
    repository = hub.add("tiny/Tiny-GGUF", QUANTISED, license="apache-2.0")

    found = pull("hf:tiny/Tiny-GGUF:Q4_K_M")

    assert found == store.find(parse_reference("hf:tiny/Tiny-GGUF:Q4_K_M").store_name)
    assert names(found.folder) == {"tiny-Q4_K_M.gguf", "LICENSE", "card.json", "origin.json"}
    assert found.path.read_bytes() == QUANTISED["tiny-Q4_K_M.gguf"]
    assert found.card.operations == ("chat", "complete")
    assert (found.card.provider, found.card.license) == ("tiny", "apache-2.0")
    assert found.card.title == "tiny/Tiny-GGUF:Q4_K_M"
    assert found.origin is not None
    assert found.origin.hub == HubOrigin(
        endpoint=hub.endpoint,
        repository="tiny/Tiny-GGUF",
        revision="main",
        commit=repository.commit,
        file="Q4_K_M",
    )
    assert {file.name: file.sha256 for file in found.origin.files} == {
        name: hashlib.sha256(QUANTISED[name]).hexdigest()
        for name in ("tiny-Q4_K_M.gguf", "LICENSE")
    }
    size = len(QUANTISED["tiny-Q4_K_M.gguf"]) + len(QUANTISED["LICENSE"])
    assert (steps[-1].stage, steps[-1].done_bytes, steps[-1].total_bytes) == ("done", size, size)
    assert repository.commit in steps[-1].place
    assert not store.partial(found.card.name).exists()


def test_only_what_is_needed_is_asked_for(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/text", text_model_files())

    found = pull("hf:tiny/text")

    asked = {request.path.rpartition("/")[2] for request in hub.requests}
    assert not {"pytorch_model.bin", "modeling.py", "README.md"} & asked
    assert names(found.folder) == {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "modules.json"),
        *("1_Pooling/config.json", "config_sentence_transformers.json", "onnx/model.onnx"),
        *("LICENSE", "card.json", "origin.json"),
    }


def test_a_text_models_files_tell_how_it_is_used(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/text", text_model_files())

    card = pull("hf:tiny/text").card

    assert (card.format, card.architecture, card.operations) == ("onnx", "bert", ("embed",))
    assert (card.pooling, card.normalize) == ("cls", True)
    assert card.prefixes == {"query": "query: ", "document": "passage: "}


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_two_towers_come_together(hub: HubServer, pull: Pull, name: str) -> None:
    combined = {"onnx/model.onnx": tower_files(name)["onnx/text_model.onnx"]}
    hub.add(f"tiny/{name}", {**tower_files(name), **combined})

    found = pull(f"hf:tiny/{name}")

    assert {"onnx/vision_model.onnx", "onnx/text_model.onnx"} <= names(found.folder)
    assert "onnx/model.onnx" not in names(found.folder)
    assert found.card.architecture == name
    assert found.card.operations == ("embed_images", "embed")
    assert choose(found)[0] == "onnx"


@pytest.mark.parametrize(
    ("files", "operations"),
    [
        (tower_files("clip"), {"embed", "embed_images"}),
        (tower_files("siglip"), {"embed", "embed_images"}),
        (text_model_files(), {"embed"}),
    ],
    ids=["clip", "siglip", "text"],
)
def test_what_is_pulled_runs(
    hub: HubServer, pull: Pull, files: dict[str, bytes], operations: set[str]
) -> None:
    hub.add("tiny/model", files)
    found = pull("hf:tiny/model")

    model = OnnxModel(EngineSpec(card=found.card, path=str(found.path), threads=1), OnnxOptions())

    assert model.capabilities.operations == operations
    assert model.capabilities.dimensions


def test_a_variant_of_an_export_takes_the_plain_name(hub: HubServer, pull: Pull) -> None:
    network = text_model_files()["onnx/model.onnx"]
    hub.add("tiny/text", {**text_model_files(), "onnx/model_quantized.onnx": network})

    found = pull("hf:tiny/text:quantized")

    assert (found.folder / "onnx" / "model.onnx").read_bytes() == network
    assert [request.path for request in hub.downloads("model.onnx")] == []


def test_an_openvino_folder_comes_with_its_weights(hub: HubServer, pull: Pull) -> None:
    parts = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
    files = {f"{part}.xml": b'<?xml version="1.0"?><net/>' for part in parts}
    files |= {f"{part}.bin": bytes(range(256)) * 10 for part in parts}
    files |= {"config.json": b'{"model_type": "phi3"}', "pytorch_model.bin": b"\x80\x02}q\x00."}
    hub.add("tiny/ov", files)

    found = pull("hf:tiny/ov")

    assert found.card.format == "openvino-ir"
    assert found.card.architecture == "phi3"
    assert names(found.folder) - {"card.json", "origin.json"} == set(files) - {"pytorch_model.bin"}


def test_all_parts_of_a_split_model_come(hub: HubServer, pull: Pull) -> None:
    parts = {
        "Q8_0/big-Q8_0-00001-of-00002.gguf": gguf_bytes(16),
        "Q8_0/big-Q8_0-00002-of-00002.gguf": gguf_bytes(24, template=""),
    }
    hub.add("tiny/big", {**parts, "Q4_0/big-Q4_0.gguf": gguf_bytes(32)})

    found = pull("hf:tiny/big:Q8_0")

    assert found.path.name == "big-Q8_0-00001-of-00002.gguf"
    assert found.size_bytes > sum(map(len, parts.values()))


def test_several_models_are_listed_with_their_sizes(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/Tiny-GGUF", QUANTISED)

    with pytest.raises(PullFailed) as refusal:
        pull("hf:tiny/Tiny-GGUF")

    assert refusal.value.code == "several_models"
    assert ":Q4_K_M  (16.8 kB)" in refusal.value.message
    assert ":Q8_0  (" in refusal.value.message
    assert hub.downloads("tiny-Q8_0.gguf") == []


def test_what_is_there_needs_no_hub(hub: HubServer, pull: Pull, steps: list[PullStep]) -> None:
    hub.add("tiny/Tiny-GGUF", QUANTISED)
    first = pull("hf:tiny/Tiny-GGUF:Q8_0")
    hub.requests.clear()
    steps.clear()

    assert pull("hf:tiny/Tiny-GGUF:Q8_0") == first

    assert hub.requests == []
    assert [step.stage for step in steps] == ["done"]


def test_a_branch_that_moved_is_followed_when_asked_and_only_then(
    hub: HubServer, pull: Pull
) -> None:
    repository = hub.add("tiny/Tiny-GGUF", QUANTISED)
    first = pull("hf:tiny/Tiny-GGUF:Q8_0")
    repository.replace({**QUANTISED, "tiny-Q8_0.gguf": gguf_bytes(48)})

    assert pull("hf:tiny/Tiny-GGUF:Q8_0") == first
    second = pull("hf:tiny/Tiny-GGUF:Q8_0", update=True)

    assert second.path.read_bytes() == gguf_bytes(48)
    assert json.loads((second.folder / "origin.json").read_text())["hub"]["commit"] == (
        repository.commit
    )


def test_an_update_to_the_same_commit_downloads_nothing(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/Tiny-GGUF", QUANTISED)
    pull("hf:tiny/Tiny-GGUF:Q8_0")
    hub.sent_bytes.clear()

    pull("hf:tiny/Tiny-GGUF:Q8_0", update=True)

    assert hub.sent_bytes == {}


def test_a_commit_is_what_it_was(hub: HubServer, pull: Pull) -> None:
    repository = hub.add("tiny/Tiny-GGUF", QUANTISED)
    old = repository.commit
    repository.replace({"tiny-Q8_0.gguf": gguf_bytes(48)})

    found = pull(f"hf:tiny/Tiny-GGUF@{old}:Q8_0")

    assert found.path.read_bytes() == QUANTISED["tiny-Q8_0.gguf"]


def test_the_same_weights_under_another_name_are_copied(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/Tiny-GGUF", QUANTISED)
    hub.add("other/Copy", {"copy.gguf": QUANTISED["tiny-Q8_0.gguf"]})
    pull("hf:tiny/Tiny-GGUF:Q8_0")

    found = pull("hf:other/Copy")

    assert found.path.read_bytes() == QUANTISED["tiny-Q8_0.gguf"]
    assert hub.downloads("copy.gguf") == []


def test_weights_outside_a_network_come_with_it(hub: HubServer, pull: Pull) -> None:
    network = network_with_external("model.onnx_data", "Constant_7_attr__value")
    extra = {"onnx/model.onnx_data": b"\1" * 16, "onnx/Constant_7_attr__value": b"\2" * 16}
    hub.add("tiny/text", {**text_model_files(), **extra, "onnx/model.onnx": network})

    found = pull("hf:tiny/text")

    assert (found.folder / "onnx" / "Constant_7_attr__value").read_bytes() == b"\2" * 16
    assert (found.folder / "onnx" / "model.onnx_data").read_bytes() == b"\1" * 16


@pytest.mark.parametrize("location", ["../../escaped", "/etc/passwd", "there/is/none"])
def test_a_network_cannot_name_files_elsewhere(
    hub: HubServer, store: ModelStore, pull: Pull, location: str
) -> None:
    hub.add("tiny/text", {**text_model_files(), "onnx/model.onnx": network_with_external(location)})

    with pytest.raises(PullFailed):
        pull("hf:tiny/text")

    assert store.installed() == []


def test_the_token_stays_with_the_hub(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/Tiny-GGUF", QUANTISED, gated=True)

    pull("hf:tiny/Tiny-GGUF:Q8_0", token=hub.token)

    authorised = {request.origin for request in hub.requests if "authorization" in request.headers}
    assert authorised == {"hub"}
    assert {request.origin for request in hub.requests} == {"hub", "storage"}


def test_a_cut_download_goes_on_where_it_was(
    hub: HubServer, pull: Pull, pauses: list[float]
) -> None:
    large = gguf_bytes(4096)
    hub.add("tiny/large", {"large.gguf": large})
    hub.faults["large.gguf"] = [Fault(cut_after=3 << 20), Fault(status=503)]

    found = pull("hf:tiny/large")

    assert found.path.read_bytes() == large
    ranges = [request.range for request in hub.downloads("large.gguf") if request.origin != "hub"]
    assert ranges[0] == ""
    assert all(int(asked.removeprefix("bytes=").rstrip("-")) >= 2 << 20 for asked in ranges[1:])
    assert pauses == [1.0, 2.0]


def network_with_external(*locations: str) -> bytes:
    """An ONNX network whose tensors are in the files `locations`."""

    def text(field: int, content: bytes) -> bytes:
        assert len(content) < 128
        return bytes([field << 3 | 2, len(content)]) + content

    tensors = b""
    for location in locations:
        entry = text(1, b"location") + text(2, location.encode())
        # Too long for one byte of length would need a longer one; these are short.
        tensors += text(5, b"\x08\x04" + bytes([13 << 3 | 2, len(entry)]) + entry)
    return b"\x08\x08" + text(7, tensors)
