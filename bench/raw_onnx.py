"""Raw onnxruntime in process, the limit of embeddings: tokenizer, network, mean, norm, no server.

python -m bench.raw_onnx FOLDER THREADS        one `Order` as JSON per line in, one `Outcome` out
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from msgspec import Struct
from tokenizers import Tokenizer


class Order(Struct, frozen=True):
    """Texts to embed, so many at a time, the short ones first so that little is padded."""

    texts: list[str]
    batch: int


class Outcome(Struct, frozen=True):
    """What came of an order."""

    elapsed_s: float


class RawEngine:
    """A session with onnxruntime's own settings, but for the threads."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def run(self, order: Order) -> Outcome:
        """Do it all."""
        began_s = time.perf_counter()
        encodings = sorted(self._tokenizer.encode_batch(order.texts), key=lambda e: len(e.ids))
        for at in range(0, len(encodings), order.batch):
            self._embed(encodings[at : at + order.batch])
        return Outcome(time.perf_counter() - began_s)

    def _embed(self, encodings: list[Any]) -> Any:  # noqa: ANN401 - arrays
        shape = (len(encodings), len(encodings[-1].ids))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, feed)[0]
        weights = mask[:, :, None].astype(np.float32)
        vectors = (states * weights).sum(axis=1) / weights.sum(axis=1)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(folder: str, threads: str) -> None:
    """Follow orders until there are no more."""
    engine = RawEngine(Path(folder), int(threads))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        outcome = engine.run(msgspec.json.decode(line, type=Order))
        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
