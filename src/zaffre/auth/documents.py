"""Fetching an issuer's documents: bounded in size and time, without redirects."""

import asyncio
import ssl
from urllib.parse import urlsplit

import aiohttp

from zaffre.auth.issuer_keys import FetchFailed
from zaffre.config.auth_section import is_loopback
from zaffre.config.settings import ConfigurationError

MAX_DOCUMENT_BYTES = 512 * 1024
FETCH_LIMIT_S = 5.0


class DocumentFetcher:
    """Fetches over https with the system's authorities, or with those in `ca_file` alone.

    Raises `ConfigurationError` for a `ca_file` that cannot be used.
    """

    def __init__(self, ca_file: str | None = None, *, limit_s: float = FETCH_LIMIT_S) -> None:
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"auth.issuers: ca_file {ca_file}: {error}.") from None
        self._limit_s = limit_s

    async def __call__(self, url: str) -> bytes:
        """The content of the document at `url`. Raises `FetchFailed`."""
        # Two documents an hour: a session that is kept would only have to be closed.
        session = aiohttp.ClientSession(
            auto_decompress=False, trust_env=not is_loopback(urlsplit(url).hostname or "")
        )
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        try:
            async with (
                asyncio.timeout(self._limit_s),
                session,
                session.get(url, headers=headers, ssl=self._tls, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise FetchFailed(f"{url} answered {answer.status}")
                return await _read(answer, url)
        except TimeoutError:
            raise FetchFailed(f"{url} took longer than {self._limit_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(f"{url}: {type(error).__name__} {error}"[:500]) from None


async def _read(answer: aiohttp.ClientResponse, url: str) -> bytes:
    content = bytearray()
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > MAX_DOCUMENT_BYTES:
            raise FetchFailed(f"{url} has more than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(content)
