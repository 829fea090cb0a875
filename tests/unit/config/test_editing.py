"""Editing: `--set a.b=c`, and paths that no longer depend on a folder."""

from pathlib import Path
from typing import Any

import pytest

from zaffre.config.editing import with_absolute_paths, with_value
from zaffre.config.settings import ConfigurationError


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("name=x", {"name": "x", "tags": {"a": "b"}, "list": [1, 2]}),
        ("tags.a=c", {"name": "n", "tags": {"a": "c"}, "list": [1, 2]}),
        ("tags.new=5", {"name": "n", "tags": {"a": "b", "new": 5}, "list": [1, 2]}),
        ("x.y.z=true", {"name": "n", "tags": {"a": "b"}, "list": [1, 2], "x": {"y": {"z": True}}}),
        ("list[1]=null", {"name": "n", "tags": {"a": "b"}, "list": [1, None]}),
        ("list[2]=3", {"name": "n", "tags": {"a": "b"}, "list": [1, 2, 3]}),
        ("new[0].a=1", {"name": "n", "tags": {"a": "b"}, "list": [1, 2], "new": [{"a": 1}]}),
        ("name=", {"name": "", "tags": {"a": "b"}, "list": [1, 2]}),
        ("name=a=b", {"name": "a=b", "tags": {"a": "b"}, "list": [1, 2]}),
        ('tags={"q": [1]}', {"name": "n", "tags": {"q": [1]}, "list": [1, 2]}),
        ('name="5"', {"name": "5", "tags": {"a": "b"}, "list": [1, 2]}),
        ("name=azureml:m:1", {"name": "azureml:m:1", "tags": {"a": "b"}, "list": [1, 2]}),
        ("$schema=x", {"$schema": "x", "name": "n", "tags": {"a": "b"}, "list": [1, 2]}),
    ],
)
def test_a_value_is_set_in_a_copy(assignment: str, expected: dict[str, Any]):
    """Given an assignment, when it is applied, then to a copy alone."""
    document = {"name": "n", "tags": {"a": "b"}, "list": [1, 2]}
    assert with_value(document, assignment) == expected
    assert document == {"name": "n", "tags": {"a": "b"}, "list": [1, 2]}


@pytest.mark.parametrize(
    "assignment", ["", "name", "=x", ".a=1", "a.=1", "a[x]=1", "a b=1", "[0]=1"]
)
def test_what_is_no_assignment_is_refused(assignment: str):
    """Given something else, when it is applied, then how it should look."""
    with pytest.raises(ConfigurationError, match=r"must be like: tags\.team=search"):
        with_value({}, assignment)


@pytest.mark.parametrize("assignment", ["name.x=1", "name[0]=1", "list[5]=1", "list.x=1"])
def test_what_is_no_place_is_refused(assignment: str):
    """Given a step into what is no mapping or list, when it is applied, then the place."""
    with pytest.raises(ConfigurationError, match="is no place in this document"):
        with_value({"name": "n", "list": [1]}, assignment)


def test_relative_paths_become_absolute(tmp_path: Path):
    """Given documents with paths, when they leave their folder, then the paths still lead there."""
    short = {
        "endpoints": [{"name": "a", "model": "path:m"}],
        "deployments": [{"model": "upstream", "upstreams": [{"key_file": "k"}]}, 5],
    }
    azure = {"model": {"path": "./m", "type": "custom_model"}, "zaffre": {"upstreams": "no"}}
    others = [{"model_id": "path:/m"}, {"model": "m"}, {"model": {"path": "azureml://x"}}, "text"]
    assert with_absolute_paths(short, tmp_path) == {
        "endpoints": [{"name": "a", "model": f"path:{tmp_path}/m"}],
        "deployments": [{"model": "upstream", "upstreams": [{"key_file": f"{tmp_path}/k"}]}, 5],
    }
    assert with_absolute_paths(azure, tmp_path) == {
        "model": {"path": f"{tmp_path}/m", "type": "custom_model"},
        "zaffre": {"upstreams": "no"},
    }
    assert [with_absolute_paths(other, tmp_path) for other in others] == others
