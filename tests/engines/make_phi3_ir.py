"""Makes `phi3_ir/`: a tiny Phi-3 with random weights, as OpenVINO IR by the official export.

Run by hand, with `torch`, `transformers`, `optimum-intel` and `openvino-tokenizers` installed:
`python make_phi3_ir.py FOLDER`. The architecture, the vocabulary's layout, the chat template and
the stop tokens are Phi-3-mini's; what it says means nothing.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import openvino as ov
import torch
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForCausalLM
from phi3 import CHAT_TEMPLATE, TOKEN_IDS
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

SENTENCES = ["be brief", "Hello Phi", "the quick brown fox", "한국어 안녕하세요"]
"""Whose words and letters are tokens, besides printable ASCII; all else is bytes."""
SPECIAL = [name for name in TOKEN_IDS if name != "<s>"]
CONTEXT_LENGTH = 2048
WIDTH = 64


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-pair merges over sentence pieces with byte fallback, as Llama's and Phi-3's."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges: list[tuple[str, str]] = []
    letters = sorted({letter for text in SENTENCES for letter in text if letter != " "})
    pieces += dict.fromkeys(("▁", *map(chr, range(33, 127)), *letters))
    for word in (word for text in SENTENCES for word in text.split()):
        built = "▁"
        for letter in word:
            if built + letter not in pieces:
                pieces.append(built + letter)
                merges.append((built, letter))
            built += letter
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in ("<s>", "</s>")])
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False, rstrip=name != "<|endoftext|>") for name in SPECIAL]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
    )


def main(folder: Path) -> None:
    """Write the export into `folder`."""
    tokenizer = make_tokenizer()
    torch.manual_seed(1)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ("<s>", *SPECIAL)}
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        original_max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    with tempfile.TemporaryDirectory() as checkpoint:
        model = Phi3ForCausalLM(config).eval()
        model.generation_config = GenerationConfig(
            eos_token_id=[ids["<|endoftext|>"], ids["<|assistant|>"], ids["<|end|>"]],
            bos_token_id=ids["<s>"],
            pad_token_id=ids["<|endoftext|>"],
        )
        model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
        OVModelForCausalLM.from_pretrained(
            checkpoint, export=True, compile=False, load_in_8bit=False
        ).save_pretrained(checkpoint + "/ir")
        shutil.copytree(checkpoint + "/ir", folder, dirs_exist_ok=True)
    for part, model in zip(
        ("tokenizer", "detokenizer"),
        convert_tokenizer(tokenizer, with_detokenizer=True),
        strict=True,
    ):
        ov.save_model(model, folder / f"openvino_{part}.xml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
