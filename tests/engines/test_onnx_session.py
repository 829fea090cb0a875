"""Opening networks: corrupt and hostile files are refused before anything is run."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper, numpy_helper
from onnx_models import TOWERS, towers

from zaffre.core.errors import EngineFailed
from zaffre.engines.onnx.engine import OnnxEngine
from zaffre.engines.onnx.session import open_session

WEIGHTS = np.array([1, 2, 3], np.float32)


def network(location: str | None, inside_branch: bool = False) -> onnx.ModelProto:
    """Adds three weights to its input; they are in the file `location`, or in the network."""
    weights = numpy_helper.from_array(WEIGHTS, "weights")
    if location is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "12")):
            entry = weights.external_data.add()
            entry.key, entry.value = key, value
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, [3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [3])
    nodes = [helper.make_node("Add", ["given", "weights"], ["result"])]
    if inside_branch:
        nodes.insert(0, helper.make_node("Constant", [], ["weights"], value=weights))
    graph = helper.make_graph(nodes, "adder", [given], [result], [] if inside_branch else [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def written(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", [None, "weights.bin", "deeper/weights.bin"])
def test_weights_within_the_models_folder_are_read(tmp_path: Path, location: str | None) -> None:
    (tmp_path / "deeper").mkdir()
    if location:
        (tmp_path / location).write_bytes(WEIGHTS.tobytes())

    session = open_session(written(tmp_path, network(location)), threads=1)

    result = session.run(None, {"given": np.zeros(3, np.float32)})[0]
    assert result.tolist() == WEIGHTS.tolist()


@pytest.mark.parametrize("inside_branch", [False, True])
@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/passwd", "deeper/../../weights.bin", "", "*/_ORT_MEM_ADDR_/*"],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, inside_branch: bool) -> None:
    (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
    folder = tmp_path / "model"
    (folder / "deeper").mkdir(parents=True)
    path = written(folder, network(location, inside_branch))

    with pytest.raises(EngineFailed, match="not a file in the model's folder"):
        open_session(path, threads=1)


def test_operators_that_come_with_a_model_are_unknown(tmp_path: Path) -> None:
    model = network(None)
    model.graph.node[0].domain = "evil.example"
    model.opset_import.append(helper.make_opsetid("evil.example", 1))

    with pytest.raises(EngineFailed, match=r"model\.onnx cannot be loaded"):
        open_session(written(tmp_path, model), threads=1)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
async def test_a_damaged_network_is_an_engine_failure_with_its_cause(
    tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    path = folder / "vision_model.onnx"
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-500], "garbage": b"\x07" * 5000, "empty": b""}[damage])

    with pytest.raises(EngineFailed, match=r"vision_model\.onnx cannot be loaded") as failure:
        await OnnxEngine(towers("clip", folder)).start()

    assert failure.value.__cause__ is not None


async def test_networks_that_are_swapped_are_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    (folder / "text_model.onnx").rename(folder / "kept.onnx")
    (folder / "vision_model.onnx").rename(folder / "text_model.onnx")
    (folder / "kept.onnx").rename(folder / "vision_model.onnx")

    with pytest.raises(EngineFailed, match="takes input_ids, attention_mask; it should take pixel"):
        await OnnxEngine(towers("clip", folder)).start()


async def test_an_unprojected_clip_is_refused(tmp_path: Path) -> None:
    # Two outputs, neither of them in the joint space.
    folder = shutil.copytree(TOWERS / "clip", tmp_path / "clip")
    path = folder / "vision_model.onnx"
    model = onnx.load(str(path))
    for output, name in zip(model.graph.output, ["pooler_output"], strict=True):
        for node in model.graph.node:
            node.output[:] = [name if old == output.name else old for old in node.output]
        output.name = name
    path.write_bytes(model.SerializeToString())

    with pytest.raises(EngineFailed, match="gives pooler_output; wanted is image_embeds"):
        await OnnxEngine(towers("clip", folder)).start()


async def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="is no folder"):
        await OnnxEngine(replace(towers("clip"), path=str(tmp_path / "nothing"))).start()
