"""The chain: whatever a request shows, one caller or a refusal."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from zaffre.auth.endpoint_tokens import EndpointTokens
from zaffre.auth.keystore import KeyStore
from zaffre.auth.secret import KeyFileError
from zaffre.core.errors import InvalidToken, Unauthenticated
from zaffre.core.principals import Principal

MAX_CREDENTIALS = 4
"""In one request; more are not looked at."""
WRITE_USES_EVERY_S = 60.0
log = logging.getLogger("zaffre.auth")


class Tokens(Protocol):
    """Who verifies tokens of other issuers (`zaffre.auth.tokens`, loaded where some are named)."""

    async def find(self, token: str) -> Principal | None:
        """Who calls with `token`; None when it is not valid. Raises `IssuerUnavailable`."""

    async def aclose(self) -> None:
        """End what is going on."""


class AuthChain:
    """Identifies callers by `api-key` and `Authorization: Bearer`, each judged on its own.

    `anybody` is who calls without a valid credential; None, the rule, when nobody may.
    """

    def __init__(
        self,
        keys: KeyStore,
        *,
        endpoint_tokens: EndpointTokens | None = None,
        tokens: Tokens | None = None,
        anybody: Principal | None = None,
    ) -> None:
        self.keys = keys
        self.endpoint_tokens = endpoint_tokens or EndpointTokens(keys)
        self._tokens = tokens
        self._anybody = anybody

    async def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Whoever the first valid credential belongs to, a key in `api-key` before any bearer.

        Raises `Unauthenticated` when there is none, `InvalidToken` when a token was among what was
        shown, or `IssuerUnavailable`.
        """
        api_keys, bearers = _credentials(headers)
        for text in api_keys:
            principal = self.keys.find(text)
            if principal is not None:
                return principal
        for text in bearers:
            principal = await self._bearer(text)
            if principal is not None:
                return principal
        if self._anybody is not None:
            return self._anybody
        if any(_is_token(text) for text in bearers):
            raise InvalidToken
        raise Unauthenticated

    async def keep_uses(self) -> None:
        """Write down when keys were last used, once a minute, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_USES_EVERY_S)
            await self._write_uses()

    async def aclose(self) -> None:
        """Write down what is known, and let go of files and connections."""
        await self._write_uses()
        self.keys.close()
        if self._tokens is not None:
            await self._tokens.aclose()

    async def _bearer(self, text: str) -> Principal | None:
        principal = self.endpoint_tokens.find(text) or self.keys.find(text)
        if principal is None and self._tokens is not None and _is_token(text):
            return await self._tokens.find(text)
        return principal

    async def _write_uses(self) -> None:
        try:
            await asyncio.to_thread(self.keys.write_uses)
        except KeyFileError as error:
            log.warning("When keys were last used cannot be kept: %s", error.message)


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[str], list[str]]:
    """What is shown as `api-key`, and as bearer; empty ones are nothing."""
    api_keys: list[str] = []
    bearers: list[str] = []
    for name, value in headers:
        if name == b"api-key":
            _add(api_keys, value)
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            _add(bearers, value[7:])
    return api_keys, bearers


def _add(texts: list[str], value: bytes) -> None:
    text = value.decode("latin-1").strip()
    if text and len(texts) < MAX_CREDENTIALS:
        texts.append(text)


def _is_token(text: str) -> bool:
    """Whether `text` has the form of a token rather than of a key."""
    return text.count(".") >= 2
