"""Output: JSON, tables and values between tabs, and the queries that choose from them."""

import json
from typing import Any

import pytest

from zaffre.cli.output import render, select
from zaffre.config.settings import ConfigurationError

ENDPOINT: dict[str, Any] = {
    "name": "chat",
    "traffic": {"blue": 90, "green": 10},
    "live": True,
    "note": None,
    "hosts": ["a", "b"],
    "probe": {"deep": {"er": 1}},
}
BOTH = [ENDPOINT, {"name": "docs", "traffic": {}}]


def test_json_is_what_the_server_says() -> None:
    assert json.loads(render(BOTH, "json")) == BOTH
    assert "ü" in render({"name": "ü"}, "json")


def test_a_table_has_one_line_for_each_row() -> None:
    head, first, second = render(BOTH, "table", columns=("name", "traffic", "live")).splitlines()
    assert head == "name  traffic           live"
    assert first == "chat  blue=90 green=10  true"
    assert second == "docs"


def test_a_table_without_columns_has_all_fields() -> None:
    head, row = render(ENDPOINT, "table").splitlines()
    assert head.split() == list(ENDPOINT)
    assert row.split() == ["chat", "blue=90", "green=10", "true", "a,b", "{…}"]


def test_tsv_is_values_between_tabs_without_a_heading() -> None:
    assert render(BOTH, "tsv") == "chat\tblue=90 green=10\ttrue\t\ta,b\t{…}\ndocs\t"
    assert render(["blue", "green"], "tsv") == "blue\ngreen"
    assert render({"cause": "two\nlines\tof it"}, "tsv") == "two lines of it"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name", "chat"),
        ("traffic.blue", 90),
        ("hosts[0]", "a"),
        ("hosts[-1]", "b"),
        ("hosts[2]", None),
        ("nothing", None),
        ("name.first", None),
        ("[0]", None),
    ],
)
def test_a_query_chooses_a_part(query: str, found: object) -> None:
    assert select(ENDPOINT, query) == found


def test_a_query_goes_through_lists_and_leaves_out_what_is_not_there() -> None:
    assert select(BOTH, "[].name") == ["chat", "docs"]
    assert select(BOTH, "[*].traffic.blue") == [90]
    assert select(BOTH, "[1].name") == "docs"


def test_what_is_not_there_is_printed_as_nothing() -> None:
    for form in ("json", "table", "tsv"):
        assert render(ENDPOINT, form, query="primaryKey") == ""


@pytest.mark.parametrize("query", ["", "a b", "[?name=='x']", "name | [0]", "{a: name}", ".name"])
def test_a_query_beyond_that_is_refused(query: str) -> None:
    with pytest.raises(ConfigurationError, match="jq"):
        select(ENDPOINT, query)
