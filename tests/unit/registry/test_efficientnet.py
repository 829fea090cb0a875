"""The graph of EfficientNet-Lite0 computes what the paper's network does, layer by layer."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from zaffre.registry.efficientnet import classifier

Array = NDArray[Any]

# Repeats, kernel and stride of the seven stages (Tan and Le, 2019, table 1).
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
WIDTHS = (2, 3, 3, 4, 5, 4, 6)
STEM, HEAD, EXPANSION = 4, 8, 2


def convolve(image: Array, weight: Array, stride: int) -> Array:
    """TensorFlow's SAME convolution; a weight of one input channel is depthwise."""
    kernel = weight.shape[2]
    for axis in (1, 2):
        side = image.shape[axis]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        pads = [(0, 0)] * 3
        pads[axis] = (total // 2, total - total // 2)
        image = np.pad(image, pads)
    windows = sliding_window_view(image, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    if weight.shape[1] == 1 and image.shape[0] == weight.shape[0]:
        return np.asarray(np.einsum("chwij,cij->chw", windows, weight[:, 0]))
    return np.asarray(np.einsum("chwij,ocij->ohw", windows, weight))


class Reference:
    """The network with random weights, in plain numpy, with batch normalisation as it is."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.tensors: dict[str, Array] = {}

    def layer(
        self, image: Array, name: str, norm: str, shape: tuple[int, ...], stride: int
    ) -> Array:
        weight = self._make(f"{name}.weight", self._random.normal(0, 0.6, shape))
        width = shape[0]
        scale = self._make(f"{norm}.weight", self._random.uniform(0.5, 1.5, width))
        shift = self._make(f"{norm}.bias", self._random.normal(0.5, 0.5, width))
        mean = self._make(f"{norm}.running_mean", self._random.normal(0, 0.3, width))
        variance = self._make(f"{norm}.running_var", self._random.uniform(0.5, 2, width))
        image = convolve(image, weight, stride)
        scale, shift, mean, variance = (v[:, None, None] for v in (scale, shift, mean, variance))
        return (image - mean) / np.sqrt(variance + 1e-3) * scale + shift

    def block(self, image: Array, name: str, width: int, kernel: int, stride: int) -> Array:
        entered, wide = image, image.shape[0]
        if not name.endswith(".0"):
            wide *= EXPANSION
            shape = (wide, image.shape[0], 1, 1)
            image = relu6(self.layer(image, f"{name}._expand_conv", f"{name}._bn0", shape, 1))
        shape = (wide, 1, kernel, kernel)
        image = relu6(self.layer(image, f"{name}._depthwise_conv", f"{name}._bn1", shape, stride))
        image = self.layer(image, f"{name}._project_conv", f"{name}._bn2", (width, wide, 1, 1), 1)
        return image + entered if stride == 1 and image.shape == entered.shape else image

    def logits(self, image: Array) -> Array:
        image = relu6(self.layer(image, "_conv_stem", "_bn0", (STEM, 3, 3, 3), 2))
        number = 0
        for (repeats, kernel, stride), width in zip(STAGES, WIDTHS, strict=True):
            for repeat in range(repeats):
                step = 1 if repeat else stride
                image = self.block(image, f"_blocks.{number}", width, kernel, step)
                number += 1
        image = relu6(self.layer(image, "_conv_head", "_bn1", (HEAD, WIDTHS[-1], 1, 1), 1))
        weight = self._make("_fc.weight", self._random.normal(0, 1, (1000, HEAD)))
        bias = self._make("_fc.bias", self._random.normal(0, 1, 1000))
        return np.asarray(weight @ image.mean(axis=(1, 2)) + bias)

    def _make(self, name: str, value: Array) -> Array:
        self.tensors[name] = value.astype(np.float32)
        return self.tensors[name]


def relu6(image: Array) -> Array:
    return np.asarray(image.clip(0, 6))


@pytest.fixture(scope="module")
def reference() -> tuple[Array, Array, dict[str, Array]]:
    random = np.random.default_rng(7)
    # Large patches: noise would average out before it reached the last layer.
    image = np.kron(random.normal(0, 3, (3, 7, 7)), np.ones((1, 32, 32))).astype(np.float32)
    network = Reference(random)
    return image, network.logits(image), network.tensors


def test_the_graph_computes_the_network(
    reference: tuple[Array, Array, dict[str, Array]],
) -> None:
    image, expected, tensors = reference
    model = classifier(tensors)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())

    found = session.run(["logits"], {"pixel_values": np.stack([image, image * 0])})[0]

    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    assert np.abs(found[1] - expected).max() > 0.1


def test_a_missing_tensor_is_told_by_name(
    reference: tuple[Array, Array, dict[str, Array]],
) -> None:
    tensors = {name: value for name, value in reference[2].items() if name != "_fc.bias"}

    with pytest.raises(KeyError, match=r"_fc\.bias"):
        classifier(tensors)
