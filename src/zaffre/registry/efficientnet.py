"""EfficientNet-Lite0 as an ONNX graph, from the tensors of its PyTorch checkpoint.

Tan and Le, 2019, in the "lite" variant: no squeeze-and-excitation, ReLU6, a stem and a head of
fixed width. Batch normalisation is folded into the convolutions; padding is TensorFlow's SAME.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

OPSET = 17
# Readable by every onnxruntime that knows the opset.
IR_VERSION = 10
CLASSES = 1000
IMAGE_SIDE = 224
STRIDE = 32
"""Pixels of the image, in each direction, per cell of the last feature map."""
BLOCKS = 16
HALVING_BLOCKS = (1, 3, 5, 11)
"""Blocks that halve the feature map; the stem does too."""
EPSILON = 1e-3


def classifier(tensors: dict[str, Array]) -> onnx.ModelProto:
    """`pixel_values` [batch, 3, 224, 224] -> `logits` [batch, 1000]. Raises `KeyError` when a
    tensor is missing."""
    net = _Network(tensors)
    value = net.convolve("pixel_values", "_conv_stem", "_bn0", stride=2)
    value = net.clip(value)
    for number in range(BLOCKS):
        value = net.block(value, f"_blocks.{number}", 2 if number in HALVING_BLOCKS else 1)
    value = net.clip(net.convolve(value, "_conv_head", "_bn1"))
    value = net.add("Flatten", [net.add("GlobalAveragePool", [value], "pool")], "features")
    weight = net.constant("_fc.weight", tensors["_fc.weight"])
    bias = net.constant("_fc.bias", tensors["_fc.bias"])
    net.nodes.append(helper.make_node("Gemm", [value, weight, bias], ["logits"], transB=1))
    return net.model()


class _Network:
    """A graph being built: nodes and constants so far."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self._tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._low = self.constant("zero", np.array(0, np.float32))
        self._high = self.constant("six", np.array(6, np.float32))

    def block(self, entered: str, name: str, stride: int) -> str:
        value = entered
        if f"{name}._expand_conv.weight" in self._tensors:
            value = self.clip(self.convolve(value, f"{name}._expand_conv", f"{name}._bn0"))
        value = self.clip(
            self.convolve(value, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        )
        value = self.convolve(value, f"{name}._project_conv", f"{name}._bn2")
        if stride == 1 and self._keeps_width(name):
            value = self.add("Add", [value, entered], f"{name}.sum")
        return value

    def convolve(self, value: str, name: str, norm: str, stride: int = 1) -> str:
        scale = self._tensors[f"{norm}.weight"] / np.sqrt(
            self._tensors[f"{norm}.running_var"] + EPSILON
        )
        weight = self._tensors[f"{name}.weight"] * scale[:, None, None, None]
        bias = self._tensors[f"{norm}.bias"] - self._tensors[f"{norm}.running_mean"] * scale
        inputs = [
            value,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
        ]
        # A depthwise kernel sees one channel each.
        groups = weight.shape[0] if name.endswith("_depthwise_conv") else 1
        node = helper.make_node(
            "Conv", inputs, [name], auto_pad="SAME_UPPER", strides=[stride, stride], group=groups
        )
        self.nodes.append(node)
        return name

    def clip(self, value: str) -> str:
        return self.add("Clip", [value, self._low, self._high], f"{value}.relu6")

    def add(self, kind: str, inputs: list[str], name: str) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name]))
        return name

    def constant(self, name: str, value: Array) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def model(self) -> onnx.ModelProto:
        side = IMAGE_SIDE
        pixels = helper.make_tensor_value_info(
            "pixel_values", TensorProto.FLOAT, ["batch", 3, side, side]
        )
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
        graph = helper.make_graph(
            self.nodes, "efficientnet-lite0", [pixels], [logits], self._constants
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )

    def _keeps_width(self, name: str) -> bool:
        depthwise = self._tensors[f"{name}._depthwise_conv.weight"].shape[0]
        projected = self._tensors[f"{name}._project_conv.weight"].shape[0]
        expand = self._tensors.get(f"{name}._expand_conv.weight")
        entered: int = depthwise if expand is None else expand.shape[1]
        return bool(entered == projected)
