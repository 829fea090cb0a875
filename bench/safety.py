"""Content safety's figures: what screening adds to a prompt, and to each streamed token.

python bench/safety.py            prints the figures, and keeps them in bench/results/

Paired: each round runs once without a screen and once with it, in turns. The classifier's vectors
come from a worker process with the starter model, over its socket, as in a gateway. Precision and
recall are those of training/safety/evaluation.json, which training/safety/train.py measures.
"""

import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zaffre import __version__
from zaffre.core.calls import ChatCall, TextPart, UserMessage
from zaffre.core.deltas import Batches, Finish, TextDelta, Usage
from zaffre.core.engine import EngineSpec
from zaffre.core.safety import Blocklist, ContentSafety, Policy, ScreenReport
from zaffre.registry.launcher import SocketFolder, Started, WorkerSupervisor
from zaffre.registry.store import ModelStore, default_home
from zaffre.safety.policies import Outside, Screens
from zaffre.safety.screen import Screen
from zaffre.upstream.client import UpstreamClient

ROOT = Path(__file__).parents[1]
MODEL = "all-minilm-l6-v2"
SENTENCE_WORDS = 15
PROMPT_WORDS = (15, 150, 1500)
ROUNDS = 15
ANSWER_TOKENS = 200
TOKENS_PER_S = 100
POLICIES = ContentSafety(
    blocklists={"words": Blocklist(words=tuple(f"forbidden{n}" for n in range(1000)))},
    policies={
        "blocklist": Policy(filters=("blocklist",), blocklists=("words",)),
        "classifier": Policy(filters=("classifier",)),
        "both": Policy(blocklists=("words",)),
        "asynchronous": Policy(filters=("classifier",), mode="asynchronous"),
    },
)


@asynccontextmanager
async def worker() -> AsyncIterator[UpstreamClient]:
    """A worker process with the classifier's model."""
    model = ModelStore(default_home(os.environ)).find(MODEL)
    spec = EngineSpec(card=model.card, path=str(model.path), threads=1)
    sockets, ready = SocketFolder(), asyncio.get_running_loop().create_future()
    supervisor = WorkerSupervisor(
        MODEL, "onnx", spec, sockets=sockets, on_started=ready.set_result, on_ended=print
    )
    supervisor.start()
    started: Started = await ready
    client = UpstreamClient("http://worker/v1", secret=started.secret, unix_socket=started.socket)
    try:
        yield client
    finally:
        await client.aclose()
        await supervisor.stop()
        sockets.remove()


def text(words: int, salt: int) -> str:
    """So many words in sentences of which no two are the same, here or with another salt."""
    return " ".join(
        f"Committee {number} of library {salt} meets on Tuesday to talk about its new reading room."
        for number in range(words // SENTENCE_WORDS + 1)
    )


def prompt(words: int, salt: int) -> ChatCall:
    """A prompt of about so many words."""
    return ChatCall((UserMessage((TextPart(text(words, salt)),)),))


async def answer(salt: int) -> Batches:
    """An answer of `ANSWER_TOKENS` words at `TOKENS_PER_S`, whether or not somebody reads them."""
    began = time.perf_counter()
    for number, word in enumerate(text(ANSWER_TOKENS, salt).split(" ")[:ANSWER_TOKENS], 1):
        await asyncio.sleep(max(0, began + number / TOKENS_PER_S - time.perf_counter()))
        yield [TextDelta(f"{word} ")]
    yield [Finish("stop"), Usage(1, ANSWER_TOKENS)]


async def timed(batches: Batches) -> tuple[float, float]:
    """Milliseconds until all of `batches` were there, and until their first text was."""
    began = time.perf_counter()
    first = began
    async for batch in batches:
        if first == began and isinstance(batch[0], TextDelta):
            first = time.perf_counter()
    return (time.perf_counter() - began) * 1e3, (first - began) * 1e3


async def measure_prompts(screen: Screen) -> dict[str, Any]:
    """What checking a prompt takes; without a screen it takes nothing."""
    figures = {}
    for words in PROMPT_WORDS:
        took = []
        for salt in range(ROUNDS + 1):
            call = prompt(words, salt)
            began = time.perf_counter()
            await screen.check_prompt(call, ScreenReport())
            took.append((time.perf_counter() - began) * 1e3)
        figures[f"{words} words"] = _spread(took[1:])
    return figures


async def measure_stream(screen: Screen) -> dict[str, Any]:
    """What watching a stream adds: to its whole, per token, and to its first token."""
    added, first = [], []
    for salt in range(ROUNDS):
        plain, plain_first = await timed(answer(salt))
        watched, watched_first = await timed(screen.watch(answer(salt), ScreenReport()))
        added.append((watched - plain) / ANSWER_TOKENS)
        first.append(watched_first - plain_first)
    return {"ms_per_token": _spread(added), "ms_to_first_token": _spread(first)}


async def measure() -> dict[str, Any]:
    """All figures."""
    async with worker() as client:
        screens = Screens(POLICIES, Outside(embed=client.embed))
        figures: dict[str, Any] = {}
        for name in POLICIES.policies:
            screen = screens.named(name)
            if screen is not None:
                prompts = await measure_prompts(screen) if name != "asynchronous" else None
                figures[name] = {"ms_per_prompt": prompts, "stream": await measure_stream(screen)}
        return figures


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "least": round(ordered[0], 3),
        "most": round(ordered[-1], 3),
    }


def main() -> None:
    """Measure, print, keep."""
    today = datetime.now(UTC).date().isoformat()
    evaluation = ROOT / "training" / "safety" / "evaluation.json"
    results = {
        "command": "python bench/safety.py",
        "date": today,
        "version": __version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "rounds": ROUNDS,
        "answer": f"{ANSWER_TOKENS} tokens at {TOKENS_PER_S} per second",
        "added": asyncio.run(measure()),
        "load_after": os.getloadavg(),
        "quality": json.loads(evaluation.read_text()),
    }
    text = json.dumps(results, indent=1)
    (ROOT / "bench" / "results" / f"safety-{today}.json").write_text(text + "\n")
    print(text)  # noqa: T201 - it is what the command is for


if __name__ == "__main__":
    main()
