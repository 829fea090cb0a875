"""`reasoning_effort`, as far as a model's chat template has an ear for it."""

import re

from zaffre.core.errors import InvalidParameter

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""The words that the dialects know."""
_NO_THOUGHTS = frozenset({"none", "minimal"})
_NAMES = re.compile(r"\b(reasoning_effort|enable_thinking)\b")


def hears_effort(chat_template: str) -> bool:
    """Whether the template looks at a variable that says how long to think, or whether to."""
    return _NAMES.search(chat_template) is not None


def effort_variables(effort: str | None, chat_template: str) -> dict[str, str | bool]:
    """The variables for the template of a call with this `reasoning_effort`; none without one.

    Templates that know two ways only are told to think unless the effort is `none` or `minimal`.
    Raises `InvalidParameter` for a word that is not in `EFFORTS`.
    """
    if effort is None:
        return {}
    if effort not in EFFORTS:
        listed = ", ".join(EFFORTS)
        raise InvalidParameter(("reasoning_effort",), effort, f"It is one of: {listed}.")
    values: dict[str, str | bool] = {
        "reasoning_effort": effort,
        "enable_thinking": effort not in _NO_THOUGHTS,
    }
    return {name: values[name] for name in sorted(set(_NAMES.findall(chat_template)))}
