"""Makes `llava_ir/`: a tiny LLaVA with random weights, as OpenVINO IR by the official export.

Run by hand, with `torch`, `transformers`, `optimum-intel` and `openvino-tokenizers` installed:
`python make_llava_ir.py FOLDER`. The architecture is LLaVA's: CLIP's eyes, a projector, Llama. What
it says means nothing, and depends on what it sees.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import openvino as ov
import torch
from openvino_tokenizers import convert_tokenizer
from optimum.intel import OVModelForVisualCausalLM
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

START, TURN, END, IMAGE = SPECIAL = ("<s>", "<|im_start|>", "<|im_end|>", "<image>")
CHAT_TEMPLATE = (
    "<s>{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT_LENGTH = 2048
IMAGE_SIDE = 28
PATCH_SIDE = 14


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte, and the special ones; every prompt starts with the first of these."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, tokenizer.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=START,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT_LENGTH,
    )


def make_model(ids: dict[str, int]) -> LlavaForConditionalGeneration:
    """Random weights, larger than trained ones begin with: else all pictures look alike."""
    torch.manual_seed(1)
    special = {"bos_token_id": ids[START], "eos_token_id": ids[END], "pad_token_id": ids[START]}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=IMAGE_SIDE,
            patch_size=PATCH_SIDE,
            projection_dim=32,
            initializer_range=0.2,
        ),
        text_config=LlamaConfig(
            vocab_size=len(ids),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT_LENGTH,
            initializer_range=0.1,
            **special,
        ),
        image_token_index=ids[IMAGE],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(IMAGE_SIDE // PATCH_SIDE) ** 2,
        initializer_range=0.1,
    )
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(**special)
    return model


def main(folder: Path) -> None:
    """Write the export into `folder`."""
    tokenizer = make_tokenizer()
    eyes = CLIPImageProcessor(
        size={"shortest_edge": IMAGE_SIDE}, crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    )
    processor = LlavaProcessor(
        image_processor=eyes,
        tokenizer=tokenizer,
        patch_size=PATCH_SIDE,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
    with tempfile.TemporaryDirectory() as checkpoint:
        make_model(tokenizer.get_vocab()).save_pretrained(checkpoint)
        processor.save_pretrained(checkpoint)
        OVModelForVisualCausalLM.from_pretrained(
            checkpoint, export=True, compile=False, load_in_8bit=False
        ).save_pretrained(checkpoint + "/ir")
        eyes.save_pretrained(checkpoint + "/ir")
        unused = shutil.ignore_patterns("tokenizer*.json", "processor_config.json", "*.jinja")
        shutil.copytree(checkpoint + "/ir", folder, ignore=unused, dirs_exist_ok=True)
    for part, model in zip(
        ("tokenizer", "detokenizer"),
        convert_tokenizer(tokenizer, with_detokenizer=True),
        strict=True,
    ):
        ov.save_model(model, folder / f"openvino_{part}.xml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
