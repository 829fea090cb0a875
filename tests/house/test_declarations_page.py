"""Declarations: the schema is what the structs say, and every field has its line in the page."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from zaffre.config import fields
from zaffre.config.auth_section import AuthDeclaration
from zaffre.config.declarations import apply, gather
from zaffre.config.documents import read_text
from zaffre.core.plan import Plan
from zaffre.core.safety import ContentSafety

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "scripts" / "schema.py"
PAGE = ROOT / "docs" / "reference" / "declarations.md"
SCHEMA = json.loads((ROOT / "docs" / "reference" / "zaffre.schema.json").read_text())
SAMPLES = sorted((ROOT / "tests" / "unit" / "config" / "samples").glob("*.yaml"))
STRUCTS = (
    fields.ShortForm,
    fields.ShortEndpoint,
    fields.ShortDeployment,
    fields.ManagedOnlineEndpoint,
    fields.ManagedOnlineDeployment,
    fields.ServerlessEndpoint,
    fields.ServerlessExtras,
    fields.UpstreamFields,
    fields.LimitFields,
    fields.ProbeFields,
    fields.RequestSettings,
    fields.ScaleSettings,
    fields.InlineModel,
)


EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def _documents() -> list[dict[str, object]]:
    """All samples of the tests and all YAML on the page."""
    texts = [*(sample.read_text() for sample in SAMPLES), *EXAMPLES]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def test_the_examples_are_read():
    """Given the examples on the page, when they are read, then they make plans, the first two
    alike but for the sizes."""
    declared = [gather(read_text(text, "declarations.md", Path("/base"))) for text in EXAMPLES]
    first, second, third = (apply(Plan(), each) for each in declared)
    assert not [str(warning) for each in declared for warning in each.warnings]
    assert first.endpoints == second.endpoints
    assert [d.model for d in first.deployments if d.endpoint] == [
        d.model for d in second.deployments
    ]
    assert [d.name for d in third.deployments] == ["phi-3-mini", "big-model"]


def test_the_schema_is_current():
    """Given the structs, when the schema is made again, then nothing changes."""
    command = [sys.executable, GENERATOR, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"run `python scripts/{GENERATOR.name}`\n{done.stdout}{done.stderr}"
    )


def test_the_schema_is_one():
    """Given the schema, when it is held against its own draft, then it is valid."""
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("document", _documents())
def test_documents_that_are_read_fit_the_schema(document: dict[str, object]):
    """Given a document that we read or show to people, when an editor checks it, then it fits."""
    assert not [error.message for error in Draft7Validator(SCHEMA).iter_errors(document)]


@pytest.mark.parametrize(
    "document",
    [
        {"name": "shop", "trafic": {}},
        {"name": "shop", "traffic": {"blue": 101}},
        {"name": "b", "endpoint_name": "shop", "model": "m", "code_configuration": {}},
        {"name": "b", "endpoint_name": "shop", "model": "m", "instance_count": 0},
        {"deployments": [{"name": "a"}]},
    ],
)
def test_documents_that_are_refused_do_not(document: dict[str, object]):
    """Given a document that we refuse, when an editor checks it, then it does not fit either."""
    assert list(Draft7Validator(SCHEMA).iter_errors(document))


def _names() -> list[str]:
    sections = {*AuthDeclaration.__struct_fields__, *ContentSafety.__struct_fields__}
    names = {name for struct in STRUCTS for name in struct.__struct_encode_fields__}
    return sorted(names - sections)


@pytest.mark.parametrize("name", _names())
def test_a_field_has_its_line(name: str):
    """Given a field, when the page is read, then a row of a table begins with it."""
    rows = re.findall(r"^\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    assert any(f"`{name}`" in row for row in rows)
