"""Docs: every setting and every error code has its line in the reference."""

import re
from pathlib import Path

import pytest

from zaffre.config.settings import SETTINGS
from zaffre.core import errors

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def _codes() -> set[str]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return {kind.code for kind in kinds if issubclass(kind, errors.ZaffreError)}


def _rows(page: str) -> set[str]:
    """The first words in code font of the page's table rows and headings."""
    pattern = re.compile(r"^(?:\||#+)\s*`([^`]+)`", re.MULTILINE)
    return set(pattern.findall((REFERENCE / page).read_text()))


@pytest.mark.parametrize("name", sorted(setting.name for setting in SETTINGS))
def test_a_setting_has_its_line(name: str):
    """Given a setting, when the reference is read, then it has a row of its own."""
    assert name in _rows("settings.md")


@pytest.mark.parametrize("code", sorted(_codes()))
def test_an_error_code_has_its_line(code: str):
    """Given a code that programs may meet, when the reference is read, then it has a row."""
    assert code in _rows("errors.md")


def test_the_reference_describes_nothing_that_is_not_there():
    """Given the reference, when its rows are read, then each is a setting or a code of today."""
    assert _rows("settings.md") <= {setting.name for setting in SETTINGS}
    assert _rows("errors.md") <= _codes()
