"""The policies of a configuration, each with its screen."""

import asyncio

from msgspec import Struct

from zaffre.config.settings import ConfigurationError
from zaffre.core.safety import DEFAULT, OFF, ContentSafety, Filter, FilterName, Policy
from zaffre.safety.blocklist import BlocklistFilter
from zaffre.safety.classifier import ClassifierFilter, Embed, shipped_heads
from zaffre.safety.judge import Ask, ModelJudge
from zaffre.safety.jury import MAX_JUDGEMENTS
from zaffre.safety.remote import Post, RemoteFilter
from zaffre.safety.screen import Screen


class Outside(Struct, frozen=True):
    """What filters ask, as far as it is there."""

    embed: Embed | None = None
    """The deployment that `ContentSafety.embedding` names."""
    ask: Ask | None = None
    """The deployment that `ContentSafety.judge` names."""
    post: Post | None = None
    """The server that `ContentSafety.remote` names."""


class Screens:
    """Makes each policy's screen when it is first asked for."""

    def __init__(self, section: ContentSafety, outside: Outside) -> None:
        """Raises `ConfigurationError` for a policy that cannot be."""
        self._section = section
        self._outside = outside
        self._room = asyncio.Semaphore(MAX_JUDGEMENTS)
        self._policies = {DEFAULT: Policy(), **section.policies}
        self._screens: dict[str, Screen] = {}
        _check(section)
        BlocklistFilter(section.blocklists)  # for what it raises, used or not

    def named(self, policy: str) -> Screen | None:
        """The screen of `policy`; None for `off`.

        Raises `ConfigurationError` when there is no such policy, or something that it needs is not
        there.
        """
        if policy == OFF:
            return None
        if policy not in self._policies:
            known = ", ".join(sorted([OFF, *self._policies]))
            raise ConfigurationError(f"no content safety policy is called '{policy}'; use {known}.")
        if policy not in self._screens:
            found = self._policies[policy]
            filters = [self._filter(policy, name) for name in _used(found)]
            self._screens[policy] = Screen(found, filters, self._room)
        return self._screens[policy]

    def _filter(self, policy: str, name: FilterName) -> Filter:
        outside, section = self._outside, self._section
        match name:
            case "blocklist":
                names = self._policies[policy].blocklists
                return BlocklistFilter({each: section.blocklists[each] for each in names})
            case "classifier" if outside.embed is not None:
                return ClassifierFilter(outside.embed, shipped_heads())
            case "remote" if outside.post is not None and section.remote is not None:
                return RemoteFilter(section.remote, outside.post)
            case "judge" if outside.ask is not None:
                return ModelJudge(outside.ask)
        raise ConfigurationError(
            f"content_safety.policies.{policy}: the filter '{name}' needs {_NEEDS[name]}."
        )


_NEEDS: dict[FilterName, str] = {
    "blocklist": "nothing",
    "classifier": "the deployment that content_safety.embedding names",
    "remote": "content_safety.remote",
    "judge": "the deployment that content_safety.judge names",
}


def _used(policy: Policy) -> list[FilterName]:
    """The filters that have something to do."""
    return [name for name in policy.filters if name != "blocklist" or policy.blocklists]


def _check(section: ContentSafety) -> None:
    if OFF in section.policies:
        raise ConfigurationError(f"content_safety.policies.{OFF}: this name means no policy.")
    for name, policy in section.policies.items():
        for listed in policy.blocklists:
            if listed not in section.blocklists:
                raise ConfigurationError(
                    f"content_safety.policies.{name}: no blocklist is called '{listed}'."
                )
        if policy.blocklists and "blocklist" not in policy.filters:
            raise ConfigurationError(
                f"content_safety.policies.{name}: it has blocklists but not the filter 'blocklist'."
            )
        if not _used(policy):
            raise ConfigurationError(
                f"content_safety.policies.{name}: it has no filter; '{OFF}' is the policy that"
                " lets everything through."
            )
