"""The plan on disk: the last one whole, or a refusal with the way out."""

import stat
from pathlib import Path

import pytest
from any_plans import plans
from hypothesis import given, settings

from zaffre.config.declarations import read_files
from zaffre.config.settings import ConfigurationError
from zaffre.config.state import PlanStore, SavedPlan
from zaffre.core.plan import DeploymentPlan, Plan

SAVED = SavedPlan(Plan(deployments=(DeploymentPlan(name="a", model="echo"),)), Plan())


def test_the_first_start_has_nothing(tmp_path: Path):
    """Given a home that does not exist yet, when it is asked, then there is no plan."""
    assert PlanStore(tmp_path / "home").load() is None


@settings(max_examples=25, deadline=None)
@given(plans(), plans(detailed=False))
def test_a_plan_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, one: Plan, two: Plan
):
    """Given any plan, when it is saved and loaded, then it is the same."""
    store = PlanStore(tmp_path_factory.mktemp("home") / "new")
    store.save(SavedPlan(one, two))
    assert store.load() == SavedPlan(one, two)


def test_the_last_plan_is_the_one_that_is_there(tmp_path: Path):
    """Given two plans saved, when it is loaded, then the second, and no other file is left."""
    store = PlanStore(tmp_path)
    store.save(SavedPlan(Plan(), Plan()))
    store.save(SAVED)
    assert store.load() == SAVED
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_nobody_else_can_read_it(tmp_path: Path):
    """Given that variables may hold secrets, when a plan is saved, then for its owner only."""
    PlanStore(tmp_path).save(SAVED)
    assert stat.S_IMODE((tmp_path / "plan.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"\xff", "malformed|UTF-8|invalid"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `version`"),
        (b'{"version": 2, "plan": {}}', "it is of version 2"),
        (b'{"version": 1}', "missing required field `plan`"),
        (b'{"version": 1, "plan": {}, "extra": 1}', "unknown field"),
        (b'{"version": 1, "plan": {"endpoints": [{"name": 5}]}}', r"\$.plan.endpoints\[0\].name"),
    ],
)
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path, content: bytes, words: str):
    """Given a file that nobody wrote so, when it is loaded, then what to do about it."""
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        PlanStore(tmp_path).load()
    assert "move it away to start from the files alone" in caught.value.message
    assert (tmp_path / "plan.json").read_bytes() == content


def test_a_plan_that_cannot_be_saved_leaves_the_last_one(tmp_path: Path):
    """Given something in the way, when a plan is saved, then it says so and nothing is left."""
    (tmp_path / "plan.json").mkdir()
    (tmp_path / "plan.json" / "x").touch()
    with pytest.raises(ConfigurationError, match="the plan cannot be saved") as caught:
        PlanStore(tmp_path).save(SAVED)
    assert str(tmp_path / "plan.json") in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    with pytest.raises(ConfigurationError, match="directory"):
        PlanStore(tmp_path).load()


def test_a_server_starts_with_what_was_changed_before(tmp_path: Path):
    """Given a plan changed at run time, when the same file is read again, then it stays changed."""
    file = tmp_path / "z.yaml"
    file.write_text("deployments: [{name: a, model: echo}]\n")
    store = PlanStore(tmp_path / "home")
    first = read_files([file], store.load())
    added = DeploymentPlan(name="b", model="echo")
    changed = Plan(deployments=(*first.plan.deployments, added))
    store.save(SavedPlan(changed, first.said))
    again = read_files([file], store.load())
    assert again.plan == changed
    file.write_text("deployments: [{name: c, model: echo}]\n")
    third = read_files([file], again.saved)
    assert [d.name for d in third.plan.deployments] == ["b", "c"]
