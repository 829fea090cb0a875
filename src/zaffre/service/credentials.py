"""Credentials: the keys and tokens that administrators hand out, never more than they may give."""

import asyncio

from msgspec import Struct

from zaffre.auth.endpoint_tokens import LIFETIME_S, EndpointToken, EndpointTokens
from zaffre.auth.keybook import KeyFacts, NewKey, Slot, endpoint_grant
from zaffre.auth.keystore import KeyStore
from zaffre.auth.policy import may_grant
from zaffre.core.errors import Conflict, NotFound, PermissionDenied
from zaffre.core.plan import EndpointPlan
from zaffre.core.principals import Grant, Principal


class KeyPair(Struct, frozen=True):
    """What is known of an endpoint's two keys; None for one that was not made, or was revoked."""

    primary: KeyFacts | None
    secondary: KeyFacts | None


class Credentials:
    """The use cases over one key store. `asker` is who wants it done.

    Files are waited for in a thread. Everything raises `PermissionDenied` for what the asker could
    not give itself, and `KeyFileError` for files that cannot be used.
    """

    def __init__(self, keys: KeyStore, tokens: EndpointTokens) -> None:
        self._keys = keys
        self._tokens = tokens

    async def of_endpoint(
        self, endpoint: EndpointPlan, asker: Principal
    ) -> KeyPair | EndpointToken:
        """What `endpoint` can be called with: facts about its keys, or a token made just now.

        Raises `Conflict` where only tokens of other issuers count.
        """
        match endpoint.auth_mode:
            case "key":
                _check_gives(asker, endpoint_grant(endpoint.name))
                keys = await asyncio.to_thread(self._keys.endpoint_keys, endpoint.name)
                by_slot = {facts.slot: facts for facts in keys}
                return KeyPair(by_slot.get("primary"), by_slot.get("secondary"))
            case "aml_token":
                return await self.issue_token(endpoint, asker)
            case "aad_token":
                raise _foreign(endpoint)

    async def renew(self, endpoint: EndpointPlan, slot: Slot, asker: Principal) -> str:
        """Another credential for `endpoint`: a key in place of the one that `slot` names, or, where
        tokens count, a token in place of all that there are.

        Raises `Conflict` where only tokens of other issuers count.
        """
        _check_gives(asker, endpoint_grant(endpoint.name))
        match endpoint.auth_mode:
            case "key":
                made = await asyncio.to_thread(self._keys.rotate, f"{endpoint.name}/{slot}")
                return made.key
            case "aml_token":
                await asyncio.to_thread(self._keys.end_tokens, endpoint.name)
                return (await self.issue_token(endpoint, asker)).token
            case "aad_token":
                raise _foreign(endpoint)

    async def issue_token(
        self, endpoint: EndpointPlan, asker: Principal, lifetime_s: int = LIFETIME_S
    ) -> EndpointToken:
        """A token for `endpoint` that lives `lifetime_s` seconds; its use counts as the asker's.

        Raises `Conflict` for an endpoint that takes none, and `InvalidParameter` for the time.
        """
        _check_gives(asker, endpoint_grant(endpoint.name))
        if endpoint.auth_mode != "aml_token":
            raise Conflict(
                f"Endpoint '{endpoint.name}' takes no such tokens: its auth_mode is"
                f" {endpoint.auth_mode}."
            )
        return await asyncio.to_thread(self._tokens.issue, endpoint.name, asker, lifetime_s)

    async def listed(self, asker: Principal) -> list[KeyFacts]:
        """All keys that the asker could have made, by name."""
        keys = await asyncio.to_thread(self._keys.listed)
        return [facts for facts in keys if may_grant(asker, _grant_of(facts))]

    async def create(
        self, name: str, grant: Grant, asker: Principal, *, expires_at: int | None = None
    ) -> NewKey:
        """A new key of the server; see `KeyStore.create` for what it raises."""
        _check_gives(asker, grant)

        def make() -> NewKey:
            return self._keys.create(name, grant, expires_at=expires_at)

        return await asyncio.to_thread(make)

    async def rotate(self, reference: str, asker: Principal) -> NewKey:
        """Another key in place of the one with this name or id. Raises `NotFound`."""
        facts = await self._known(reference, asker)
        return await asyncio.to_thread(self._keys.rotate, facts.id)

    async def revoke(self, reference: str, asker: Principal) -> KeyFacts:
        """End the key with this name or id, everywhere and at once. Raises `NotFound`."""
        facts = await self._known(reference, asker)
        return await asyncio.to_thread(self._keys.revoke, facts.id)

    async def forget_endpoint(self, name: str) -> None:
        """End all keys and tokens of an endpoint that is no more."""
        await asyncio.to_thread(self._keys.forget_endpoint, name)

    async def _known(self, reference: str, asker: Principal) -> KeyFacts:
        """The key of this name or id, if the asker may know of it: other keys do not exist."""
        for facts in await self.listed(asker):
            if reference == facts.id or reference.lower() == facts.name.lower():
                return facts
        raise NotFound(f"There is no key '{reference}'.")


def _grant_of(facts: KeyFacts) -> Grant:
    return Grant(
        permissions=frozenset(facts.permissions),
        endpoints=None if facts.endpoints is None else frozenset(facts.endpoints),
        models=None if facts.models is None else frozenset(facts.models),
        operations=None if facts.operations is None else frozenset(facts.operations),
    )


def _check_gives(asker: Principal, wanted: Grant) -> None:
    if not may_grant(asker, wanted):
        raise PermissionDenied(
            "Principal does not have access to this: it cannot give more than it may itself."
        )


def _foreign(endpoint: EndpointPlan) -> Conflict:
    return Conflict(
        f"Endpoint '{endpoint.name}' has no keys and tokens of its own: its auth_mode is aad_token,"
        " so its callers show tokens of an issuer."
    )
