"""Fetching images and sound clips from the web, for requests that only point to them.

Off unless hosts are named. https alone; every address a host resolves to must be public, at the
first hop and after every redirect (the library pins the connection to the address it has checked).
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin, urlsplit

import requests
from AntiSSRF import AntiSSRFError, AntiSSRFPolicy, PolicyConfigOptions, URIValidator

from zaffre.core.calls import AudioPart, ImagePart, MediaReference
from zaffre.core.errors import InvalidParameter, Location

MAX_REDIRECTS = 3
MAX_FETCHES = 8
"""At the same time; more wait their turn within their own time limit."""
CHUNK_BYTES = 64 * 1024
ANY_HOST = "*"


class _RefusedError(Exception):
    """Why a fetch was given up, as a sentence."""


class GuardedFetcher:
    """Fetches from `hosts` (names, with their subdomains; `*` for any public host).

    `allowed_addresses` are networks that are not public and still allowed; `ca_file` is an
    authority to trust instead of the system's.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        max_bytes: int,
        timeout_s: float,
        allowed_addresses: Sequence[str] = (),
        ca_file: str | None = None,
    ) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        policy = AntiSSRFPolicy(PolicyConfigOptions.EXTERNAL_ONLY_LATEST)
        if allowed_addresses:
            policy.add_allowed_addresses(list(allowed_addresses))
        self._session = policy.get_antissrf_session()
        self._session.trust_env = False  # a proxy would resolve names behind our back
        self._session.verify = ca_file or True
        self._pool = ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="media")

    async def fetch(self, reference: MediaReference, location: Location) -> ImagePart | AudioPart:
        """See `zaffre.core.media.MediaFetcher`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                kind, content = await loop.run_in_executor(self._pool, self._get, reference.url)
            _check_kind(reference, kind)
        except (_RefusedError, TimeoutError) as refused:
            reason = str(refused) or f"it took longer than {self._timeout_s:g} s"
            raise InvalidParameter(
                location, reference.url, f"The {reference.kind} was not fetched: {reason}."
            ) from None
        if reference.kind == "image":
            return ImagePart(content, kind)
        return AudioPart(content, kind.rpartition("/")[2])

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    def _get(self, url: str) -> tuple[str, bytes]:
        """Media type and bytes. Runs in a thread: the library is made for `requests`."""
        deadline = time.monotonic() + self._timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            self._check_url(url)
            try:
                with self._session.get(
                    url, stream=True, allow_redirects=False, timeout=self._timeout_s
                ) as response:
                    if response.is_redirect:
                        url = urljoin(url, response.headers["location"])
                        continue
                    if response.status_code != requests.codes.ok:
                        raise _RefusedError(f"its server answered {response.status_code}")
                    kind = response.headers.get("content-type", "").partition(";")[0].strip()
                    return kind.lower(), self._read(response, deadline)
            except AntiSSRFError as error:
                raise _RefusedError("its address is not a public one") from error
            except requests.RequestException as error:
                raise _RefusedError("its server cannot be reached") from error
        raise _RefusedError(f"there are more than {MAX_REDIRECTS} redirects")

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise _RefusedError("only https addresses are fetched")
        if parts.username or parts.password:
            raise _RefusedError("addresses with credentials are not fetched")
        if ANY_HOST not in self._hosts and not URIValidator.in_domain(url, list(self._hosts)):
            raise _RefusedError(f"the host '{parts.hostname}' is not among the allowed ones")

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_content(CHUNK_BYTES):
            size += len(piece)
            if size > self._max_bytes:
                raise _RefusedError(f"it is larger than {self._max_bytes} bytes")
            if time.monotonic() > deadline:
                raise _RefusedError(f"it took longer than {self._timeout_s:g} s")
            pieces.append(piece)
        return b"".join(pieces)


def _check_kind(reference: MediaReference, kind: str) -> None:
    if not kind.startswith(f"{reference.kind}/"):
        raise _RefusedError(f"it is '{kind}', not of a type {reference.kind}/...")
