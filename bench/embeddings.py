"""Embeddings over HTTP, next to raw onnxruntime at the batch that suits it best."""

import os
from collections.abc import Sequence
from functools import partial
from itertools import count

import msgspec
from msgspec import Struct

from bench import load
from bench.engine import thread_counts
from bench.figures import Bar, Rounds, Row, find, judge, ratio
from bench.load import Load
from bench.processes import KEY, work_folder, zaffre
from bench.raw import RawProcess
from bench.raw_onnx import Order, Outcome
from zaffre.registry.store import ModelStore, default_home

MODEL = "all-minilm-l6-v2"
BATCHES = (1, 4, 8, 16, 32, 64)
TRIED_SHARE = 0.5
"""Of a round's texts, to find the best batch."""
ASKED_TEXTS = {"short": 1024, "long": 128}
"""Texts of a round."""
WORDS = "reading room opens on Tuesday when the committee of the library meets "
TEXTS = {"short": f"@@@@@@@@ {WORDS}", "long": f"@@@@@@@@ {WORDS * 18}"}
"""About 20 and 240 tokens."""
RAW = "raw onnxruntime, best batch"
PINNING = "nothing: engine, gateway and load generator share both cores"
Raw = RawProcess[Outcome]
_salts = count(10_000_000, 100_000)


class Shape(Struct, frozen=True):
    """How texts come."""

    callers: int
    texts: int
    """Per request."""

    @property
    def name(self) -> str:
        """As an arm."""
        return f"Zaffre, {self.callers} callers with {self.texts} text{'s' * (self.texts > 1)} each"


BATCHED = {"short": Shape(4, 64), "long": Shape(4, 16)}
SINGLE = Shape(64, 1)


def measure(rounds: Rounds) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    folder = ModelStore(default_home(os.environ)).find(MODEL).path
    for threads in thread_counts():
        raw = RawProcess("bench.raw_onnx", str(folder), str(threads), outcome=Outcome)
        plan = {"deployments": [{"name": MODEL, "model": MODEL, "threads": threads}]}
        try:
            with work_folder() as place, zaffre([plan], place) as server:
                for kind in TEXTS:
                    best = _best_batch(raw, kind)
                    runs = {RAW: partial(_raw, raw, kind, best)}
                    for shape in (BATCHED[kind], SINGLE):
                        runs[shape.name] = partial(_http, server.port, kind, shape)
                        runs[shape.name]()
                    rows += rounds.run(_name(kind, threads), runs)
        finally:
            raw.stop()
    return rows


def _name(kind: str, threads: int) -> str:
    return f"{kind} texts, {threads} engine thread{'s' * (threads > 1)}"


def _best_batch(raw: Raw, kind: str) -> int:
    """The batch size with the most texts per second, of two tries each."""
    speeds: dict[int, float] = {}
    for _ in range(2):
        for batch in BATCHES:
            speed = _raw(raw, kind, batch, TRIED_SHARE)["texts_per_s"]
            speeds[batch] = max(speed, speeds.get(batch, 0.0))
    return max(speeds, key=lambda batch: speeds[batch])


def _raw(raw: Raw, kind: str, batch: int, share: float = 1.0) -> dict[str, float]:
    salt, texts = next(_salts), round(ASKED_TEXTS[kind] * share)
    pattern = load.SALT.decode()
    asked = [TEXTS[kind].replace(pattern, f"{salt + number:08d}") for number in range(texts)]
    elapsed_s = raw.run(Order(asked, batch)).elapsed_s
    return {"texts_per_s": texts / elapsed_s, "batch": batch}


def _http(port: int, kind: str, shape: Shape) -> dict[str, float]:
    texts = [f"{number} {TEXTS[kind]}" for number in range(shape.texts)]
    body = {"model": MODEL, "input": texts, "encoding_format": "base64"}
    asked = Load(
        port=port,
        path="/v1/embeddings",
        headers={"api-key": KEY},
        bodies=(msgspec.json.encode(body).decode(),),
        callers=shape.callers,
        turns=ASKED_TEXTS[kind] // (shape.callers * shape.texts),
        first_salt=next(_salts),
    )
    report = load.run(asked)
    return {
        "texts_per_s": report.requests * shape.texts / report.elapsed_s,
        "batch": shape.texts,
        "request_p50_ms": report.latency_ms.p50,
    }


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars of this suite, held against the rows."""
    found = []
    for threads in thread_counts():
        for kind in TEXTS:
            name = _name(kind, threads)
            raw = find(rows, name, RAW)
            for shape in (BATCHED[kind], SINGLE):
                row = find(rows, name, shape.name)
                share = ratio(row, raw, "texts_per_s").median if row and raw else 0.0
                found.append(
                    Bar(
                        what=f"texts/s ÷ raw onnxruntime, {name}: {shape.name}",
                        bar="≥ 0.9",
                        measured=f"{share:.2f}",
                        verdict=judge(share, 0.9, None, most=False),
                    )
                )
    found.append(
        Bar(
            what="texts/s ÷ llama.cpp's embedding server",
            bar="–",
            beyond="≥ 2",
            measured="–",
            verdict="not measured",
            remark="no package has these weights as GGUF",
        )
    )
    return found
