"""What the gateway adds to a call, and how much it can take: everything measured in one run.

The mock upstream and the load generator share one core, each gateway has the other to itself.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct, json

from bench import load, peers
from bench.figures import Bar, Rounds, Row, difference, find, judge, ratio
from bench.load import Load, Report
from bench.mock import UNPACED
from bench.processes import KEY, Address, Server, free_port, served, work_folder, zaffre

GATEWAY_CORE, OTHERS_CORE = 0, 1
CALLERS = (1, 16, 64, 256)
STREAM_TOKENS = 250
STREAMS = (20, 200)
FLOODS = 32
"""Streams without a pause, of those ways that do not pace themselves."""
DIRECT, HOP, LITELLM = "mock upstream, direct", "plain uvicorn hop", "LiteLLM"
RELAY = "byte relay, no HTTP"
UPSTREAM, NO_LEDGER = "Zaffre, upstream", "Zaffre, upstream, no ledger"
WORKER, GUARDED = "Zaffre, worker (echo)", "Zaffre, all on, blocklist"
CLASSIFIED = "Zaffre, all on, classifier"
_FLOOD = f"SSE, {FLOODS} streams without a pause"
PINNING = "each gateway on core 0; mock upstream, workers and load generator on core 1"
QUESTION = "Question @@@@@@@@: when does the reading room open on Tuesdays, and who meets there?"
MOST_CLASSIFIED = 16
"""Callers with the classifier: beyond them one waits for its model alone."""
MANY = 1_000_000_000


class Arm(Struct, frozen=True):
    """A way from the generator to an answer."""

    name: str
    address: Address
    server: Server | None
    """Whose processor time counts; None: nobody's."""
    echo: bool = False
    """Whether it says again what it is told, and paces itself by the command `/slow`."""


def plan(upstream_port: int) -> list[dict[str, Any]]:
    """What Zaffre is told to serve."""
    url = f"http://127.0.0.1:{upstream_port}/v1"
    upstreams = [{"url": url, "model": "mock", "max_calls": 4096}]
    limits = {
        "requests_per_minute": MANY,
        "tokens_per_minute": MANY,
        "concurrent_requests": 4096,
        "tokens_per_day": MANY,
    }
    own = {
        "deployments": [
            {"name": "mock", "model": "upstream", "upstreams": upstreams},
            {"name": "echo", "model": "echo", "slots": 512},
        ],
        "content_safety": {
            "blocklists": {"words": {"words": [f"forbidden{n}" for n in range(1000)]}},
            "policies": {"words": {"filters": ["blocklist"], "blocklists": ["words"]}},
        },
    }
    serverless = [
        {
            "type": "serverlessEndpoint",
            "name": name,
            "model_id": "upstream",
            "zaffre": {"upstreams": upstreams, "limits": limits, "content_safety": policy},
        }
        for name, policy in (("guarded", "words"), ("classified", "default"))
    ]
    return [own, *serverless]


def zaffre_arms(server: Server, without_ledger: Server) -> list[Arm]:
    """The ways through Zaffre."""
    headers = {"api-key": KEY}
    base = Address(server.port, headers=headers)
    arms = [
        Arm(UPSTREAM, base, server),
        Arm(WORKER, Address(server.port, headers=headers, model="echo"), server, echo=True),
    ]
    for name, endpoint in ((GUARDED, "guarded"), (CLASSIFIED, "classified")):
        path = f"/endpoints/{endpoint}{base.path}"
        arms.append(Arm(name, Address(server.port, path, headers), server))
    bare = Address(without_ledger.port, headers=headers)
    return [*arms, Arm(NO_LEDGER, bare, without_ledger)]


@contextmanager
def all_arms(against: Sequence[str], say: Callable[[str], None]) -> Iterator[list[Arm]]:
    """Everything that is measured, running."""
    with ExitStack() as stack:
        folder = stack.enter_context(work_folder())
        port = free_port()
        mock = [sys.executable, "-m", "bench.mock", str(port)]
        stack.enter_context(served(mock, "mock", folder, cores=[OTHERS_CORE], port=port))
        arms = [Arm(DIRECT, Address(port), None)]
        for name, module in ((RELAY, "relay"), (HOP, "hop")):
            own_port = free_port()
            program = [sys.executable, "-m", f"bench.{module}", str(own_port), str(port)]
            server = stack.enter_context(
                served(program, module, folder, cores=[GATEWAY_CORE], port=own_port)
            )
            arms.append(Arm(name, Address(own_port), server))
        pinned: dict[str, Any] = {"cores": [GATEWAY_CORE]}
        server = stack.enter_context(zaffre(plan(port), folder, **pinned))
        place = stack.enter_context(work_folder())
        off = {"ZAFFRE_LEDGER_URL": "off"}
        bare = stack.enter_context(zaffre(plan(port), place, environment=off, **pinned))
        arms += zaffre_arms(server, bare)
        if "litellm" in against:
            arms.append(_litellm(stack, folder, port, say))
        warm_up(arms)
        for one in (server, bare):
            one.place_children(OTHERS_CORE)
        yield arms


def _litellm(stack: ExitStack, folder: Path, upstream_port: int, say: Callable[[str], None]) -> Arm:
    programs = peers.install("litellm", say)
    say("Starting LiteLLM ...")
    port, config = free_port(), folder / "litellm.yaml"
    upstream = {
        "model": "openai/mock",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none",
    }
    told = {
        "model_list": [{"model_name": "mock", "litellm_params": upstream}],
        "general_settings": {"master_key": f"sk-{KEY}"},
        "litellm_settings": {"telemetry": False},
    }
    config.write_bytes(json.encode(told))
    quiet = ("env", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_MODE=PRODUCTION")
    command = [*quiet, "LITELLM_LOG=ERROR", str(programs / "litellm"), "--config", str(config)]
    server = stack.enter_context(
        served(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"],
            "litellm",
            folder,
            cores=[GATEWAY_CORE],
            port=port,
        )
    )
    headers = {"authorization": f"Bearer sk-{KEY}"}
    return Arm(LITELLM, Address(port, headers=headers), server)


def warm_up(arms: Sequence[Arm]) -> None:
    """Every way once in both forms: what is made at the first use is made."""
    for arm in arms:
        for stream in (False, True):
            load.run(asked(arm, stream_tokens=2 if stream else None, turns=4, callers=4))


def measure(
    against: Sequence[str], rounds: Rounds, seconds: float, say: Callable[[str], None]
) -> list[Row]:
    """All rows."""
    rows: list[Row] = []
    with all_arms(against, say) as arms:
        for callers in CALLERS:
            name = f"JSON, {callers} caller{'s' * (callers > 1)}"
            runs = {arm.name: partial(_json, arm, callers, seconds) for arm in arms}
            if callers > MOST_CLASSIFIED:
                del runs[CLASSIFIED]
            rows += rounds.run(name, runs)
        runs = {arm.name: partial(_first, arm, seconds) for arm in arms}
        rows += rounds.run("SSE, time to first token, 1 caller", runs)
        for streams in STREAMS:
            runs = {a.name: partial(_streams, a, streams) for a in arms if a.name != CLASSIFIED}
            rows += rounds.run(_streams_name(streams), runs)
        floods = [a for a in arms if not a.echo and a.name != CLASSIFIED]
        runs = {arm.name: partial(_flood, arm) for arm in floods}
        rows += rounds.run(_FLOOD, runs)
    return rows


def asked(
    arm: Arm,
    *,
    stream_tokens: int | None = None,
    pause: bool = True,
    **options: Any,  # noqa: ANN401
) -> Load:
    """The load of one arm; `options` are fields of `Load`."""
    question = QUESTION
    if arm.echo and stream_tokens is not None:
        pace = 20 if stream_tokens > 2 else 0
        question = f"/slow {pace} @@@@@@@@ " + "word " * (stream_tokens - 3)
    body: dict[str, Any] = {
        "model": arm.address.model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant of a town's library."},
            {"role": "user", "content": question.rstrip()},
        ],
        "max_tokens": stream_tokens or 64,
        "temperature": 0 if pause else UNPACED,
    }
    if stream_tokens is not None:
        body["stream"] = True
    return Load(
        port=arm.address.port,
        path=arm.address.path,
        headers=arm.address.headers,
        bodies=(json.encode(body).decode(),),
        **options,
    )


def run(arm: Arm, wanted: Load) -> tuple[Report, float]:
    """What came of a load, and the gateway's processor seconds."""
    before_s = 0.0 if arm.server is None else arm.server.cpu_s()
    report = load.run(wanted, cores=[OTHERS_CORE])
    return report, 0.0 if arm.server is None else arm.server.cpu_s() - before_s


def _json(arm: Arm, callers: int, seconds: float) -> dict[str, float]:
    report, cpu_s = run(arm, asked(arm, callers=callers, duration_s=seconds))
    return {
        "p50_ms": report.latency_ms.p50,
        "p99_ms": report.latency_ms.p99,
        "requests_per_s": report.per_s,
        "gateway_cpu_us_per_request": cpu_s / report.requests * 1e6,
        "generator_cpu_us_per_request": report.cpu_s / report.requests * 1e6,
    }


def _first(arm: Arm, seconds: float) -> dict[str, float]:
    report, _ = run(arm, asked(arm, stream_tokens=1, duration_s=seconds))
    return {"first_p50_ms": report.first_ms.p50, "first_p99_ms": report.first_ms.p99}


def _flood(arm: Arm) -> dict[str, float]:
    """What a chunk costs when there is always another one, and nothing waits for the clock."""
    wanted = asked(arm, stream_tokens=STREAM_TOKENS, pause=False, callers=FLOODS, turns=1)
    report, cpu_s = run(arm, wanted)
    return {
        "chunks_per_s": report.chunks / report.elapsed_s,
        "gateway_cpu_us_per_chunk": cpu_s / report.chunks * 1e6,
    }


def _streams(arm: Arm, streams: int) -> dict[str, float]:
    wanted = asked(arm, stream_tokens=STREAM_TOKENS, callers=streams, turns=1, spread_s=2.0)
    report, cpu_s = run(arm, wanted)
    return {
        "first_p50_ms": report.first_ms.p50,
        "token_delay_p50_ms": report.delay_ms.p50,
        "token_delay_p99_ms": report.delay_ms.p99,
        "chunks_per_s": report.chunks_per_s,
        "gateway_cpu_us_per_chunk": cpu_s / report.chunks * 1e6,
        "generator_cpu_us_per_chunk": report.cpu_s / report.chunks * 1e6,
    }


# --- bars --------------------------------------------------------------------------------------


def bars(rows: Sequence[Row]) -> list[Bar]:
    """The bars of this suite, held against the rows."""
    return [
        *_latency_bars(rows),
        *_litellm_bars(rows),
        _throughput_bar(rows),
        *_stream_bars(rows),
    ]


def _latency_bars(rows: Sequence[Row]) -> list[Bar]:
    found = []
    one = "JSON, 1 caller"
    direct = find(rows, one, DIRECT)
    rules: Mapping[str, tuple[float, float, float | None]] = {
        UPSTREAM: (0.6, 2.0, 0.4),
        NO_LEDGER: (0.6, 2.0, 0.4),
        WORKER: (0.6, 2.0, 0.4),
    }
    for arm, (p50_bar, p99_bar, beyond) in rules.items():
        row = find(rows, one, arm)
        if row is None or direct is None:
            continue
        p50, p99 = (difference(row, direct, name) for name in ("p50_ms", "p99_ms"))
        verdict = judge(p50.median, p50_bar, beyond, most=True)
        if p99.median > p99_bar:
            verdict = "not met"
        found.append(
            Bar(
                what=f"added latency, 1 caller, JSON: {arm}",
                bar=f"p50 ≤ {p50_bar} ms, p99 ≤ {p99_bar:g} ms",
                beyond=f"p50 ≤ {beyond} ms",
                measured=f"p50 {p50.median:.2f} ms, p99 {p99.median:.2f} ms",
                verdict=verdict,
            )
        )
    for arm in (GUARDED, CLASSIFIED):
        row = find(rows, one, arm)
        if row is None or direct is None:
            continue
        p50 = difference(row, direct, "p50_ms")
        found.append(
            Bar(
                what=f"safety, quota, ledger and auth on: {arm}",
                bar="added p50 ≤ 1.2 ms",
                measured=f"p50 {p50.median:.2f} ms",
                verdict=judge(p50.median, 1.2, None, most=True),
            )
        )
    return found


def _litellm_bars(rows: Sequence[Row]) -> list[Bar]:
    one, many = "JSON, 1 caller", "JSON, 64 callers"
    ours, theirs, direct = (find(rows, one, arm) for arm in (UPSTREAM, LITELLM, DIRECT))
    fast, slow = find(rows, many, UPSTREAM), find(rows, many, LITELLM)
    if not (ours and theirs and direct and fast and slow):
        measured: dict[str, Any] = {"measured": "–", "verdict": "not measured"}
        return [
            Bar(what="against LiteLLM: added p50", bar="≥ 8× lower", beyond="20×", **measured),
            Bar(what="against LiteLLM: requests/s per core", bar="≥ 10×", beyond="20×", **measured),
        ]
    our_ms, their_ms = (difference(row, direct, "p50_ms").median for row in (ours, theirs))
    lower, higher = their_ms / our_ms, ratio(fast, slow, "requests_per_s").median
    return [
        Bar(
            what="against LiteLLM: added p50, 1 caller",
            bar="≥ 8× lower",
            beyond="20×",
            measured=f"{lower:.1f}× ({our_ms:.2f} against {their_ms:.2f} ms)",
            verdict=judge(lower, 8, 20, most=False),
        ),
        Bar(
            what="against LiteLLM: requests/s per core, 64 callers",
            bar="≥ 10× higher",
            beyond="20×",
            measured=f"{higher:.1f}× ({_per_s(fast)} against {_per_s(slow)}/s)",
            verdict=judge(higher, 10, 20, most=False),
        ),
    ]


def _throughput_bar(rows: Sequence[Row]) -> Bar:
    what, bar = "requests/s through one gateway process", "≥ 2,000, p99 at 64 callers ≤ 50 ms"
    row = find(rows, "JSON, 64 callers", UPSTREAM)
    if row is None:
        return Bar(what=what, bar=bar, beyond="3,500", measured="–", verdict="not measured")
    p99_ms = row.figures["p99_ms"].median
    verdict = judge(row.figures["requests_per_s"].median, 2000, 3500, most=False)
    return Bar(
        what=what,
        bar=bar,
        beyond="3,500",
        measured=f"{_per_s(row)}/s, p99 {p99_ms:.1f} ms",
        verdict=verdict if p99_ms <= 50 else "not met",
    )


def _stream_bars(rows: Sequence[Row]) -> list[Bar]:
    one = "SSE, time to first token, 1 caller"
    first, direct = find(rows, one, UPSTREAM), find(rows, one, DIRECT)
    bars = []
    if first is not None and direct is not None:
        added_ms = difference(first, direct, "first_p50_ms").median
        bars.append(
            Bar(
                what="streaming: added time to first token",
                bar="≤ 1 ms",
                measured=f"p50 {added_ms:.2f} ms",
                verdict=judge(added_ms, 1, None, most=True),
            )
        )
    workloads = {_FLOOD: "without a pause", _streams_name(STREAMS[-1]): "50 tokens/s"}
    for workload, words in workloads.items():
        found = [find(rows, workload, arm) for arm in (UPSTREAM, HOP, RELAY)]
        cost_us, *others = [
            row.figures["gateway_cpu_us_per_chunk"].median for row in found if row is not None
        ]
        bars.append(
            Bar(
                what=f"streaming: processor time per relayed chunk, {words}",
                bar="≤ 25 µs",
                beyond="≤ 12 µs",
                measured=f"{cost_us:.1f} µs",
                verdict=judge(cost_us, 25, 12, most=True),
                remark=" / ".join(f"{other:.1f}" for other in others) + " µs: uvicorn hop / relay",
            )
        )
    return bars


def _streams_name(streams: int) -> str:
    return f"SSE, {streams} streams of 50 tokens/s"


def _per_s(row: Row) -> str:
    return f"{row.figures['requests_per_s'].median:,.0f}"
