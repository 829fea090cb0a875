"""Choosing: which files of a repository are the model that is meant."""

import pytest

from zaffre.registry.choice import choose_files
from zaffre.registry.errors import FileRefused, NotOnHub, PullFailed, SeveralModels
from zaffre.registry.hub import HubFile, HubListing
from zaffre.registry.references import parse_reference


def chosen(text: str, *paths: str) -> dict[str, str]:
    """Path in the repository -> name here, of what is chosen from `paths`."""
    files = tuple(HubFile(path, 1000, sha256=path) for path in paths)
    listing = HubListing(repository="a/b", commit="c" * 40, files=files)
    choice = choose_files(listing, parse_reference(text))
    return {file.source.path: file.name for file in choice.files}


QWEN = (
    *("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "README.md", "LICENSE"),
    *("qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf", "qwen2.5-7b-instruct-q4_0.gguf"),
    *("qwen2.5-7b-instruct-q8_0-00001-of-00003.gguf", "mmproj-model-f16.gguf"),
)
BGE = (
    *("config.json", "tokenizer.json", "1_Pooling/config.json", "modules.json"),
    *("onnx/model.onnx", "onnx/model.onnx_data", "onnx/tokenizer.json"),
    *("onnx/model_quantized.onnx", "onnx/model_O4.onnx", "pytorch_model.bin", "model.safetensors"),
    *("openvino/openvino_model.xml", "openvino/openvino_model.bin"),
)
CLIP = (
    *("config.json", "preprocessor_config.json", "tokenizer.json", "onnx/model.onnx"),
    *("onnx/text_model.onnx", "onnx/vision_model.onnx"),
    *("onnx/text_model_quantized.onnx", "onnx/vision_model_quantized.onnx"),
)


@pytest.mark.parametrize(
    ("text", "main"),
    [
        ("hf:a/b:Q4_0", "qwen2.5-7b-instruct-q4_0.gguf"),
        ("hf:a/b:q4_0", "qwen2.5-7b-instruct-q4_0.gguf"),
        ("hf:a/b:*q4_0.gguf", "qwen2.5-7b-instruct-q4_0.gguf"),
        ("hf:a/b:qwen2.5-7b-instruct-q4_0.gguf", "qwen2.5-7b-instruct-q4_0.gguf"),
        ("hf:a/b:Q4_K_M", QWEN[0]),
        (f"hf:a/b:{QWEN[3]}", QWEN[0]),
    ],
)
def test_a_gguf_is_named_in_many_ways(text: str, main: str) -> None:
    assert next(iter(chosen(text, *QWEN))) == main


def test_a_split_model_comes_whole_with_its_licence() -> None:
    assert set(chosen("hf:a/b:Q4_K_M", *QWEN)) == {QWEN[0], QWEN[3], "LICENSE"}


def test_parts_of_a_model_that_is_not_whole_are_none() -> None:
    with pytest.raises(NotOnHub):
        chosen("hf:a/b:Q8_0", *QWEN)


@pytest.mark.parametrize("word", ["Q4_K", "Q4", "q4_k_", "4_0", "k_m"])
def test_half_a_quantisation_is_none(word: str) -> None:
    with pytest.raises(NotOnHub, match=r":q4_k_m  \(2.0 kB\)"):
        chosen(f"hf:a/b:{word}", *QWEN)


def test_one_word_for_two_models_is_told_with_both() -> None:
    with pytest.raises(SeveralModels, match="is 2 models") as raised:
        chosen("hf:a/b:Q8_0", "small-Q8_0.gguf", "large-Q8_0.gguf")
    assert ":small-Q8_0.gguf" in raised.value.message


def test_the_plain_export_is_meant_where_none_is_named() -> None:
    assert chosen("hf:a/b", *BGE) == {
        "config.json": "config.json",
        "tokenizer.json": "tokenizer.json",
        "1_Pooling/config.json": "1_Pooling/config.json",
        "modules.json": "modules.json",
        "onnx/model.onnx": "onnx/model.onnx",
        "onnx/model.onnx_data": "onnx/model.onnx_data",
    }


@pytest.mark.parametrize("text", ["hf:a/b:quantized", "hf:a/b:onnx/model_quantized.onnx"])
def test_a_variant_is_named_by_word_or_path(text: str) -> None:
    found = chosen(text, *BGE)

    assert found["onnx/model_quantized.onnx"] == "onnx/model.onnx"
    assert "onnx/model.onnx" not in found
    assert "onnx/model.onnx_data" not in found


def test_two_towers_go_together_in_each_variant() -> None:
    assert {path for path in chosen("hf:a/b", *CLIP) if path.endswith(".onnx")} == {
        "onnx/vision_model.onnx",
        "onnx/text_model.onnx",
    }
    found = chosen("hf:a/b:quantized", *CLIP)
    assert found["onnx/text_model_quantized.onnx"] == "onnx/text_model.onnx"
    assert found["onnx/vision_model_quantized.onnx"] == "onnx/vision_model.onnx"


IR = tuple(
    f"openvino_{part}.{ending}"
    for part in ("language_model", "vision_embeddings_model", "tokenizer", "detokenizer")
    for ending in ("xml", "bin")
)


def test_an_openvino_model_that_sees_comes_with_its_eyes() -> None:
    files = (*IR, "preprocessor_config.json", "pytorch_model.bin", "training_args.bin")

    assert set(chosen("hf:a/b", *files)) == {*IR, "preprocessor_config.json"}


def test_openvino_without_its_tokenizer_is_another_librarys() -> None:
    with pytest.raises(NotOnHub, match="no OpenVINO IR with its tokenizer"):
        chosen("hf:a/b", "openvino_model.xml", "openvino_model.bin")


def test_a_folder_is_named_by_its_path() -> None:
    found = chosen("hf:a/b:int4", *(f"int4/{name}" for name in IR), "int8/x.gguf")

    assert found[f"int4/{IR[0]}"] == IR[0]


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/./b", "a\\b", "a\x00b", "", "C:/x"])
def test_no_file_of_a_repository_with_a_path_out_of_it_is_taken(path: str) -> None:
    with pytest.raises(FileRefused):
        chosen("hf:a/b", "fine.gguf", path)


def test_a_text_that_is_no_text_is_refused_by_its_size() -> None:
    files = (HubFile("onnx/model.onnx", 10), HubFile("tokenizer.json", 10**9))
    listing = HubListing(repository="a/b", commit="c", files=files)

    with pytest.raises(PullFailed, match=r"tokenizer.json has 1.0 GB"):
        choose_files(listing, parse_reference("hf:a/b"))
