"""Makes tests/engines/towers: tiny random CLIP and SigLIP exports, and what transformers gives.

    pip install torch transformers onnx onnxruntime pillow
    python tests/engines/make_towers.py [FOLDER]

Real architectures, real exporter, real processors; only sizes and weights are not. Run it again
when transformers changes how it prepares images or texts; `test_onnx_reference.py` compares.
"""

import json
import shutil
import sys
from io import BytesIO
from pathlib import Path

import onnx
import onnxruntime
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tower_pictures import TEXTS, pictures
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

HERE = Path(__file__).parent
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789!"
TINY = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def main(root: Path) -> None:
    vectors = {"clip": make_clip(root / "clip"), "siglip": make_siglip(root / "siglip")}
    (root / "vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")


def make_clip(folder: Path) -> dict:
    fresh(folder)
    torch.manual_seed(20)
    tokenizer = clip_tokenizer(folder)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={**TINY, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 77},
        vision_config={**TINY, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    model = shake(CLIPModel(config))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=32)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)

    def encode(text: str) -> dict:
        inputs = tokenizer(text, return_tensors="pt")
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}

    export(Text(model, projected=True), encode("a cat"), folder / "text_model.onnx", "text_embeds")
    export(
        Vision(model),
        {"pixel_values": torch.zeros(2, 3, 32, 32)},
        folder / "vision_model.onnx",
        "image_embeds",
    )
    return expected(model, processor, [encode(text) for text in TEXTS])


def make_siglip(folder: Path) -> dict:
    fresh(folder)
    torch.manual_seed(21)
    tokenizer = siglip_tokenizer(folder)
    config = SiglipConfig(
        text_config={**TINY, "vocab_size": len(tokenizer), "max_position_embeddings": 64},
        vision_config={**TINY, "image_size": 32, "patch_size": 8},
    )
    model = shake(SiglipModel(config))
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    config.save_pretrained(folder)
    processor.save_pretrained(folder)

    def encode(text: str) -> dict:
        ids = tokenizer(text, padding="max_length", max_length=64, return_tensors="pt")
        return {"input_ids": ids["input_ids"]}

    text = Text(model, projected=False)
    export(text, encode("a cat"), folder / "text_model.onnx", "pooler_output")
    export(
        Vision(model),
        {"pixel_values": torch.zeros(2, 3, 32, 32)},
        folder / "vision_model.onnx",
        "pooler_output",
    )
    return expected(model, processor, [encode(text) for text in TEXTS])


class Text(torch.nn.Module):
    """The text tower alone."""

    def __init__(self, model: torch.nn.Module, projected: bool) -> None:
        super().__init__()
        self.model, self.projected = model, projected

    def forward(self, input_ids, attention_mask=None):
        output = self.model.text_model(input_ids, attention_mask=attention_mask).pooler_output
        return self.model.text_projection(output) if self.projected else output


class Vision(torch.nn.Module):
    """The vision tower alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        output = self.model.vision_model(pixel_values).pooler_output
        projection = getattr(self.model, "visual_projection", None)
        return projection(output) if projection else output


def expected(model, processor, encoded: list) -> dict:
    """What transformers itself gives, from files and texts to normalised vectors."""
    images = {}
    for name, content in pictures().items():
        pixels = processor(Image.open(BytesIO(content)), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            images[name] = unit(model.get_image_features(pixels))
    with torch.no_grad():
        texts = [unit(model.get_text_features(**inputs)) for inputs in encoded]
    return {"images": images, "texts": texts}


def unit(features) -> list[float]:
    pooled = features if isinstance(features, torch.Tensor) else features.pooler_output
    vector = pooled[0] / pooled[0].norm()
    return [round(float(number), 7) for number in vector]


def shake(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that a mistake in any of them shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def export(module, inputs, path: Path, output: str) -> None:
    names = [name for name in inputs if name in ("input_ids", "attention_mask", "pixel_values")]
    axes = {name: {0: "batch"} for name in (*names, output)}
    for name in names:
        if name != "pixel_values":
            axes[name][1] = "sequence"
    torch.onnx.export(
        module.eval(),
        tuple(inputs[name] for name in names),
        str(path),
        input_names=names,
        output_names=[output],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    shrink(path)


def shrink(path: Path) -> None:
    """Fold constants and shorten the exporter's long names: the files live in the repository."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(path))
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    short: dict[str, str] = {}

    def rename(name: str) -> str:
        return name if name in kept or not name else short.setdefault(name, f"t{len(short)}")

    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("name")
        node.ClearField("metadata_props")
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = rename(tensor.name)
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def clip_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """CLIP's own kind: lower case, byte pairs, words that end in </w>."""
    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "ca", "cat</w>", "do"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    start, end = len(vocabulary), len(vocabulary) + 1
    vocabulary |= {"<|startoftext|>": start, "<|endoftext|>": end}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[("c", "a"), ("ca", "t</w>"), ("d", "o")],
            end_of_word_suffix="</w>",
            unk_token="<|endoftext|>",
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)],
    )
    return wrapped(
        tokenizer, folder, "<|endoftext|>", bos_token="<|startoftext|>", eos_token="<|endoftext|>"
    )


def siglip_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """SigLIP's own kind: lower case, sentence pieces, one end token, padded to 64."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in LETTERS] + [("▁a", -2.5), ("cat", -4.0), ("dog", -4.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    # SigLIP pads with its end token.
    return wrapped(tokenizer, folder, "</s>", eos_token="</s>", unk_token="<unk>")


def wrapped(tokenizer: Tokenizer, folder: Path, pad: str, **tokens: str) -> PreTrainedTokenizerFast:
    tokenizer.save(str(folder / "tokenizer.json"))
    wrapper = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, **tokens)
    config = {"pad_token": pad, **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return wrapper


def fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "towers")
