"""`reasoning_effort` on its way into a chat template."""

import pytest

from zaffre.core.errors import InvalidParameter
from zaffre.engines.text.effort import effort_variables, hears_effort

GRADED = "Reasoning: {{ reasoning_effort | default('medium') }}"
SWITCHED = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"


@pytest.mark.parametrize(
    ("template", "effort", "variables"),
    [
        (GRADED, "low", {"reasoning_effort": "low"}),
        (SWITCHED, "none", {"enable_thinking": False}),
        (SWITCHED, "minimal", {"enable_thinking": False}),
        (SWITCHED, "low", {"enable_thinking": True}),
        (GRADED + SWITCHED, "none", {"reasoning_effort": "none", "enable_thinking": False}),
        (GRADED + SWITCHED, None, {}),
        ("{{ messages }}", "high", {}),
        ("{{ my_reasoning_effort_word }}", "high", {}),
    ],
)
def test_a_template_gets_the_variables_that_it_looks_at(
    template: str, effort: str | None, variables: dict[str, object]
):
    """Given an effort, when the template looks at a variable for it, then that is set."""
    assert effort_variables(effort, template) == variables


@pytest.mark.parametrize(("template", "heard"), [(GRADED, True), (SWITCHED, True), ("x", False)])
def test_templates_hear_effort_or_do_not(template: str, heard: bool):
    """Given a template, then the parameter is listed only where it has an effect."""
    assert hears_effort(template) is heard


def test_an_unknown_effort_is_refused():
    """Given a word that no dialect knows, when it is sent, then the known ones are told."""
    with pytest.raises(InvalidParameter, match="none, minimal, low, medium, high, xhigh"):
        effort_variables("<|im_end|>", GRADED)
