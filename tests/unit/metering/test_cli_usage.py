"""`zaffre usage`: what people see, and what scripts can rely on."""

import asyncio
import csv
import json
import time

import pytest
import typer
from typer.testing import CliRunner

from zaffre.cli.usage import usage
from zaffre.core.metering import UsageRow
from zaffre.metering.ledger import SqliteLedger
from zaffre.metering.ledger_file import FILE_NAME

DAY_MS = 86_400_000

CARD = """{"name": "small", "format": "onnx", "operations": ["embed"],
           "prices": {"input": 0.5, "output": 2.0}}"""


def make_row(name, **fields):
    now_ms = int(time.time() * 1000)
    return UsageRow(id=name, **{"started_ms": now_ms, "status": 200, "model": "small", **fields})


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a model that has a price, and a ledger with three requests."""
    monkeypatch.setenv("ZAFFRE_HOME", str(tmp_path))
    monkeypatch.delenv("ZAFFRE_LEDGER_URL", raising=False)
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(CARD)

    async def fill():
        ledger = SqliteLedger(tmp_path / FILE_NAME)
        alice = {"principal_id": "k1", "principal_name": "alice"}
        old = int(time.time() * 1000) - 10 * DAY_MS
        for row in (
            make_row("a", **alice, prompt_tokens=1_000_000, completion_tokens=500_000),
            make_row("b", **alice, model="free", prompt_tokens=7, status=429),
            make_row("c", principal_id="k2", principal_name="=bob", started_ms=old),
        ):
            await ledger.close(ledger.open(row), row)
        await ledger.aclose()

    asyncio.run(fill())
    return tmp_path


def run(*words, code=0):
    app = typer.Typer()
    app.command()(usage)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def test_the_table_has_a_line_for_each_and_a_total(home):
    """Given usage of two keys, when shown, then each has its line, its cost, and all their sum."""
    lines = [line.split() for line in run().splitlines()]
    assert lines == [
        ["key", "requests", "errors", "prompt", "completion", "cached", "reasoning", "cost"],
        ["alice", "(k1)", "2", "1", "1,000,007", "500,000", "0", "0", "1.5000+"],
        ["=bob", "(k2)", "1", "0", "0", "0", "0", "0", "0.0000"],
        ["total", "3", "1", "1,000,007", "500,000", "0", "0", "1.5000+"],
        ["+", "and", "what", "models", "without", "a", "price", "cost"],
    ]


def test_since_leaves_older_days_out(home):
    """Given a request of ten days ago, when asked for the last week, then it does not count."""
    assert [one["group"] for one in json.loads(run("--since", "7d", "-o", "json"))] == ["k1"]


def test_csv_is_safe_to_open(home):
    """Given a key named like a formula, when written as CSV, then no spreadsheet will run it."""
    rows = list(csv.DictReader(run("-o", "csv").splitlines()))
    assert [(row["key"], row["name"], row["requests"]) for row in rows] == [
        ("k1", "alice", "2"),
        ("k2", "'=bob", "1"),
    ]


def test_days_come_in_their_order(home):
    """Given usage of two days, when grouped by day, then the earlier comes first."""
    days = [one["group"] for one in json.loads(run("--by", "day", "-o", "json"))]
    assert days == sorted(days)
    assert len(days) == 2


def test_reading_leaves_a_closed_ledger_as_it_is(home):
    """Given no server, when usage is shown, then the ledger's bytes are the same as before."""
    before = (home / FILE_NAME).read_bytes()
    run()
    assert (home / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    "words", [("--by", "colour"), ("--since", "yesterday"), ("-o", "xml"), ("--since", "7")]
)
def test_wrong_words_are_refused(home, words):
    """Given a word that means nothing, when given, then it is an error of usage."""
    run(*words, code=2)


def test_no_ledger_is_said(home):
    """Given a home without a ledger, when usage is asked for, then that is one sentence."""
    (home / FILE_NAME).unlink()
    assert "cannot be read" in run(code=1)
