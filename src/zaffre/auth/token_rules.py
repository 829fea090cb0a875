"""Token rules: what an issuer's rules grant to the claims of a token. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from zaffre.auth.jwt_form import Claims
from zaffre.config.auth_section import MODEL, RuleDeclaration
from zaffre.core.principals import Grant


class _Fit(Struct, frozen=True):
    """A list that a token fits, and the models that it fits for; None: all."""

    models: frozenset[str] | None = None


def grants_of(rules: Sequence[RuleDeclaration], claims: Claims, subject: str) -> tuple[Grant, ...]:
    """The grants of all rules that the claims fit, in the order of the rules."""
    found = (_grant(rule, claims, subject) for rule in rules)
    return tuple(grant for grant in found if grant is not None)


def _grant(rule: RuleDeclaration, claims: Claims, subject: str) -> Grant | None:
    if rule.app_ids and claims.application not in rule.app_ids:
        return None
    if rule.subjects and subject not in rule.subjects:
        return None
    models: frozenset[str] | None = None
    for wanted, shown in (
        (rule.roles, _texts(claims.roles)),
        (rule.scopes, claims.scopes),
        (rule.groups, _texts(claims.groups)),
    ):
        fit = _fit(wanted, shown)
        if fit is None:
            return None
        if fit.models is not None:
            models = fit.models if models is None else models & fit.models
    return None if models is not None and not models else rule.grant(models)


def _fit(wanted: Sequence[str], shown: Iterable[str]) -> _Fit | None:
    """How one list is fitted; None when it is not."""
    have = set(shown)
    if not wanted or any(MODEL not in text and text in have for text in wanted):
        return _Fit()
    models = {model for text in wanted if MODEL in text for model in _named(text, have)}
    return _Fit(frozenset(models)) if models else None


def _named(pattern: str, shown: Iterable[str]) -> set[str]:
    """The models that stand in the place of `{model}`."""
    before, _, after = pattern.partition(MODEL)
    least = len(before) + len(after)
    return {
        text[len(before) : len(text) - len(after)].lower()
        for text in shown
        if len(text) > least and text.startswith(before) and text.endswith(after)
    }


def _texts(claim: str | list[str]) -> list[str]:
    return [claim] if isinstance(claim, str) else claim
