"""`scripts/bench`: one suite of benchmarks, its result as JSON and as tables."""

import argparse
import runpy
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import embeddings, engine, gateway, guard, machine, peers, results, soak, start
from bench.figures import Bar, Rounds, Row
from bench.processes import WORK, work_folder
from bench.results import Result

SUITES = ("gateway", "engine", "embeddings", "start", "soak", "guard")
SCRIPTS = ("ledger", "safety")
"""Suites that write results of their own form."""
AGAINST = {"gateway": ["litellm"], "engine": ["xllamacpp"], "start": ["litellm"]}
PEERS = ("litellm", "xllamacpp", "llama-native", "none")
PACKAGES = {
    "gateway": ("zaffre", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec"),
    "engine": ("zaffre", "openvino-genai", "xllamacpp", "uvicorn", "uvloop", "aiohttp"),
    "embeddings": ("zaffre", "onnxruntime", "tokenizers", "numpy", "uvloop"),
    "start": ("zaffre", "uvicorn", "uvloop", "aiohttp"),
    "soak": ("zaffre", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec"),
    "guard": ("zaffre", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec"),
}
PINNINGS = {
    "gateway": gateway.PINNING,
    "engine": engine.PINNING,
    "embeddings": embeddings.PINNING,
    "start": start.PINNING,
    "soak": soak.PINNING,
    "guard": guard.PINNING,
}
ROUNDS = {"gateway": 5, "engine": 3, "embeddings": 5, "start": 7, "soak": 1, "guard": guard.ROUNDS}


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Run a suite; 1 when the guard's limits are passed, 2 when the machine is not quiet."""
    asked = _parser().parse_args(arguments)
    if asked.suite == "page":
        results.write_page(SUITES)
        return 0
    if asked.suite in SCRIPTS:
        sys.argv = [asked.suite]
        runpy.run_path(str(Path(__file__).parent / f"{asked.suite}.py"), run_name="__main__")
        return 0
    against = asked.against or AGAINST.get(asked.suite, [])
    rounds = Rounds(
        asked.rounds or ROUNDS[asked.suite], busy=asked.busy, wait_s=asked.wait, say=say
    )
    try:
        if not asked.busy:
            machine.check_quiet(wait_s=asked.wait)
        before = machine.usage()
        rows = _rows(asked, against, rounds)
        if asked.suite == "soak":
            rounds.most_foreign_cores = machine.foreign_cores(before)
    except machine.BusyMachineError as busy:
        say(str(busy))
        return 2
    bars = _bars(asked.suite, rows)
    sys.stdout.write(results.bar_table(bars))
    result = _result(asked, against, rounds, rows, bars)
    if not asked.dry:
        say(f"Written: {results.keep(result).name}")
        results.write_page(SUITES)
    return int(asked.suite == "guard" and any(bar.verdict == "not met" for bar in bars))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("suite", choices=[*SUITES, *SCRIPTS, "page"])
    parser.add_argument("--against", action="append", choices=PEERS, help="may be given twice")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load in a round")
    parser.add_argument("--minutes", type=float, default=3.0, help="of a soak")
    parser.add_argument("--busy", action="store_true", help="measure although others compute")
    parser.add_argument(
        "--wait", type=float, default=120.0, help="longest wait for quiet, in seconds"
    )
    parser.add_argument("--dry", action="store_true", help="write no result")
    return parser


def _rows(asked: argparse.Namespace, against: list[str], rounds: Rounds) -> list[Row]:
    match asked.suite:
        case "gateway":
            return gateway.measure(against, rounds, asked.seconds, say)
        case "engine":
            return engine.measure(against, rounds, say)
        case "embeddings":
            return embeddings.measure(rounds)
        case "start":
            return start.measure(against, rounds, say)
        case "soak":
            return soak.measure(asked.minutes, say)
        case _:
            return guard.measure(rounds, say)


def _bars(suite: str, rows: list[Row]) -> list[Bar]:
    match suite:
        case "gateway":
            return gateway.bars(rows)
        case "engine":
            return engine.bars(rows)
        case "embeddings":
            return embeddings.bars(rows)
        case "start":
            return start.bars(rows)
        case "soak":
            return soak.bars(rows)
        case _:
            return guard.bars(rows)


def _result(
    asked: argparse.Namespace,
    against: list[str],
    rounds: Rounds,
    rows: list[Row],
    bars: list[Bar],
) -> Result:
    versions = machine.versions(PACKAGES[asked.suite])
    known = peers.listed()
    versions |= {name: known[name].version for name in against if name in known}
    with work_folder() as folder:
        facts = {"ms that fdatasync of 4 KiB takes on the ledger's disk": machine.sync_ms(folder)}
    return Result(
        suite=asked.suite,
        command=" ".join(["scripts/bench", *sys.argv[1:]]),
        date=datetime.now(UTC).date().isoformat(),
        machine=machine.words(),
        versions=versions,
        pinning=PINNINGS[asked.suite],
        rounds=rounds.count,
        foreign_cores=round(rounds.most_foreign_cores, 2),
        busy=asked.busy and rounds.most_foreign_cores > machine.MAX_FOREIGN_CORES,
        facts=facts if asked.suite in ("gateway", "soak") else {},
        rows=rows,
        bars=bars,
    )


def _end(_signal: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # by way of all that ends what was started


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    WORK.mkdir(exist_ok=True)
    sys.exit(main(sys.argv[1:]))
