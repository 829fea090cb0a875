"""Building the image-embedding starter: centred ConSE, as an ordinary two-tower ONNX export.

No package index carries a CLIP. ConSE (Norouzi et al., 2013) makes a joint space of images and
texts from a classifier and a text embedder: an image is the mean of its classes' texts, weighted by
their probabilities. Subtracting the mean text keeps all vectors from pointing the same way.

    C      = normalise(MiniLM("a photo of a " + class))      mu = mean(C)
    image  = normalise(softmax(logits) @ (C - mu))           vision_model.onnx -> image_embeds
    text   = normalise(normalise(MiniLM(text)) - mu)         text_model.onnx   -> text_embeds

All of it, pooling and centring too, is in the graphs, so that the engine needs no special case.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from zaffre.registry.efficientnet import CLASSES, IMAGE_SIDE, STRIDE, classifier
from zaffre.registry.errors import PullFailed
from zaffre.registry.torchfile import read_tensors

Vectors = NDArray[np.float32]

PROMPT = "a photo of a "
DIMENSIONS = 384
CONTEXT_TOKENS = 256
BATCH = 50
PREPROCESSING = {
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
    # EfficientNet-Lite takes (value - 127) / 128.
    "do_rescale": True,
    "rescale_factor": 1 / 128,
    "do_normalize": True,
    "image_mean": [127 / 128] * 3,
    "image_std": [1.0] * 3,
}
"""preprocessor_config.json: as exports of vision models have it."""
CONFIG = {
    "model_type": "conse",
    "projection_dim": DIMENSIONS,
    "text_config": {"max_position_embeddings": CONTEXT_TOKENS},
    "vision_config": {"image_size": IMAGE_SIDE, "patch_size": STRIDE},
}


def prepare(ingredients: Path, into: Path) -> None:
    """Build the model in the empty folder `into` from the catalogue's files in `ingredients`.

    Deterministic: the same ingredients on the same machine give the same bytes. Takes about ten
    seconds. Raises `PullFailed` when an ingredient is not what it should be.
    """
    names = _class_names(ingredients / "imagenet-classes.json")
    tokenizer = Tokenizer.from_file(str(ingredients / "tokenizer.json"))
    text = onnx.load(str(ingredients / "minilm.onnx"))
    _pool(text)
    classes = _embed(text, tokenizer, [PROMPT + name for name in names])
    mean: Vectors = classes.mean(axis=0)
    _centre(text, mean)
    vision = classifier(read_tensors(ingredients / "efficientnet-lite0.pth"))
    _project(vision, classes - mean)
    for model, name in ((text, "text_model.onnx"), (vision, "vision_model.onnx")):
        onnx.checker.check_model(model)
        (into / name).write_bytes(model.SerializeToString(deterministic=True))
    for value, name in ((PREPROCESSING, "preprocessor_config.json"), (CONFIG, "config.json")):
        (into / name).write_bytes(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
    for path in ingredients.iterdir():
        if path.name == "tokenizer.json" or path.name.startswith(("LICENSE", "NOTICE")):
            shutil.copyfile(path, into / path.name)


def _class_names(path: Path) -> list[str]:
    names = msgspec.json.decode(path.read_bytes(), type=list[str])
    if len(names) != CLASSES:
        raise PullFailed(f"{path.name} has {len(names)} names instead of {CLASSES}.")
    return names


def _embed(model: onnx.ModelProto, tokenizer: Tokenizer, texts: Sequence[str]) -> Vectors:
    tokenizer.enable_truncation(CONTEXT_TOKENS)
    tokenizer.enable_padding()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    vectors = []
    for start in range(0, len(texts), BATCH):
        encodings = tokenizer.encode_batch(list(texts[start : start + BATCH]))
        inputs = {
            "input_ids": np.array([e.ids for e in encodings], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encodings], np.int64),
            "token_type_ids": np.array([e.type_ids for e in encodings], np.int64),
        }
        vectors.append(session.run(["pooled"], inputs)[0])
    return np.concatenate(vectors)


def _pool(model: onnx.ModelProto) -> None:
    """Make the graph's output the normalised mean of the hidden states under the mask."""
    graph = model.graph
    graph.initializer.extend(
        [_constant("last_axis", np.array([-1])), _constant("token_axis", np.array([1]))]
    )
    graph.node.extend(
        [
            helper.make_node("Cast", ["attention_mask"], ["mask_row"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask_row", "last_axis"], ["mask"]),
            helper.make_node("Mul", ["last_hidden_state", "mask"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "token_axis"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "token_axis"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
            helper.make_node("LpNormalization", ["mean"], ["pooled"], axis=-1, p=2),
        ]
    )
    _set_output(graph, "pooled")


def _centre(model: onnx.ModelProto, mean: Vectors) -> None:
    model.graph.initializer.append(_constant("class_mean", mean))
    model.graph.node.extend(
        [
            helper.make_node("Sub", ["pooled", "class_mean"], ["centred"]),
            helper.make_node("LpNormalization", ["centred"], ["text_embeds"], axis=-1, p=2),
        ]
    )
    _set_output(model.graph, "text_embeds")


def _project(model: onnx.ModelProto, directions: Vectors) -> None:
    graph = model.graph
    graph.initializer.append(_constant("class_directions", directions))
    graph.node.extend(
        [
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
            helper.make_node("MatMul", ["probabilities", "class_directions"], ["weighted"]),
            helper.make_node("LpNormalization", ["weighted"], ["image_embeds"], axis=-1, p=2),
        ]
    )
    graph.output.append(_vectors_output("image_embeds"))


def _constant(name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> TensorProto:
    return numpy_helper.from_array(value, name)


def _set_output(graph: onnx.GraphProto, name: str) -> None:
    del graph.output[:]
    graph.output.append(_vectors_output(name))


def _vectors_output(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", DIMENSIONS])
