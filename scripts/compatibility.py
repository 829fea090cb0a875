"""Writes docs/reference/compatibility.md from what a running server says of its models.

    python scripts/compatibility.py ENDPOINT KEY [--check]

The server has a deployment on each engine; tests/e2e/test_compatibility.py starts one. With
--check the page is compared, not written.
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "compatibility.md"
BEGIN, END = "<!-- engines: written by scripts/compatibility.py -->", "<!-- engines end -->"
PARAMETERS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "max_tokens",
    "stop",
    "seed",
    "n",
    "best_of",
    "logprobs",
    "logit_bias",
    "echo",
    "suffix",
    "parallel_tool_calls",
    "reasoning_effort",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop_token_ids",
    "ignore_eos",
)
REFUSED = "422"
LARGE = 2**31 - 1


def main(arguments: list[str]) -> int:
    """Write or check the page."""
    endpoint, key, *rest = arguments
    table = _tables(_ask(endpoint, key))
    page = PAGE.read_text(encoding="utf-8")
    before, _, tail = page.partition(BEGIN)
    _, _, after = tail.partition(END)
    current = f"{before}{BEGIN}\n\n{table}\n{END}{after}"
    if "--check" not in rest:
        PAGE.write_text(current, encoding="utf-8")
        return 0
    if current == page:
        return 0
    print(f"{PAGE.name} does not say what the engines say; it should have:\n\n{table}")
    return 1


def _ask(endpoint: str, key: str) -> dict[str, dict[str, Any]]:
    """The capabilities of each engine's first deployment."""
    request = urllib.request.Request(f"{endpoint}/models", headers={"api-key": key})  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310 - the server of the caller
        entries = json.load(response)["data"]
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        found.setdefault(entry["capabilities"]["engine"], entry["capabilities"])
    return found


def _tables(engines: dict[str, dict[str, Any]]) -> str:
    writing = [name for name in ("openvino", "llama") if name in engines]
    rows = [["parameter", *(f"`{name}`" for name in writing)], ["---"] * (len(writing) + 1)]
    for parameter in PARAMETERS:
        cells = [_cell(engines[name]["parameters"].get(parameter)) for name in writing]
        rows.append([f"`{parameter}`", *cells])
    for title, field in (
        ("response formats", "formats"),
        ("tool choices", "tool_choices"),
        ("content parts", "content_parts"),
    ):
        rows.append([title, *(", ".join(engines[name][field]) for name in writing)])
    rows.append(["prompts as token ids", *(_yes(engines[n]["token_prompts"]) for n in writing)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _cell(bounds: dict[str, float | None] | None) -> str:
    if bounds is None:
        return REFUSED
    low, high = bounds["minimum"], bounds["maximum"]
    if high is not None and high >= LARGE:
        high = None
    if low is not None and low <= -LARGE:
        low = None
    if low is None and high is None:
        return "yes"
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"from {low:g}" if low is not None else f"to {high:g}"


def _yes(value: bool) -> str:
    return "yes" if value else REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
