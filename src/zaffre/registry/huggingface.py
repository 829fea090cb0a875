"""The Hugging Face hub, and servers that speak like it (HF_ENDPOINT).

`huggingface_hub` knows addresses, tokens and listings. The bytes are read here: since its version 1
it begins a file anew after each cut, and a large model on a thin line would never arrive.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Self

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling
from msgspec import Struct

from zaffre import __version__
from zaffre.registry.errors import HubAccessDenied, HubUnavailable, NotOnHub, PullFailed
from zaffre.registry.hub import HubFile, HubListing, Interrupted, Reading
from zaffre.registry.references import HubReference

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""Between two pieces of an answer."""
LISTING_TIMEOUT_S = 30.0
MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
MAX_LISTED_FILES = 100_000

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a server says when another attempt is worth it."""
_ON = frozenset({"1", "ON", "YES", "TRUE"})


class HubAccess(Struct, frozen=True):
    """How the hub is reached."""

    endpoint: str | None = None
    """Its address; None: the library's."""
    token: str | None = None
    """What proves who asks; "": nobody; None: the one that `hf auth login` has saved, if any."""
    offline: bool = False


def access_from(environ: Mapping[str, str]) -> HubAccess:
    """How HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE say it."""
    offline = any(
        environ.get(name, "").upper() in _ON for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/")
    return HubAccess(endpoint or None, environ.get("HF_TOKEN", "").strip() or None, offline)


class HuggingFaceHub:
    """See `HubSource`. Use it as a context: its end closes all connections."""

    def __init__(self, access: HubAccess) -> None:
        self._offline = access.offline
        token = access.token if access.token is not None else get_token()
        self._has_token = bool(token)
        self._api = HfApi(
            endpoint=access.endpoint,
            token=token or False,
            library_name="zaffre",
            library_version=__version__,
        )
        # Packed text would have another length than the one announced.
        headers = {"user-agent": f"zaffre/{__version__}", "accept-encoding": "identity"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._client = httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # The client leaves the token behind when a redirect leads to another host.
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def listing(self, reference: HubReference) -> HubListing:
        """The repository at the commit that the revision is at now; see `HubSource`."""
        if self._offline:
            raise _offline(reference)
        try:
            info = self._api.model_info(
                reference.repository,
                revision=reference.revision,
                files_metadata=True,
                timeout=LISTING_TIMEOUT_S,
            )
        except OfflineModeIsEnabled as error:
            raise _offline(reference) from error
        except HFValidationError as error:
            raise NotOnHub(f"'{reference.repository}' cannot be a repository: {error}") from error
        except HfHubHTTPError as error:
            raise self._explain_listing(reference, error) from error
        except httpx2.HTTPError as error:
            raise Interrupted(f"{self._api.endpoint} cannot be reached ({error!r})") from error
        return _listing(reference, info, self._api.endpoint)

    @contextmanager
    def read(self, listing: HubListing, file: HubFile, start_bytes: int) -> Iterator[Reading]:
        """Read `file` from `start_bytes` on; see `HubSource`."""
        url = hf_hub_url(
            listing.repository, file.path, revision=listing.commit, endpoint=self._api.endpoint
        )
        try:
            with self._open(url, start_bytes) as response:
                self._check(listing, file, response)
                yield Reading(_start(response, start_bytes), _chunks(response))
        except httpx2.TooManyRedirects as error:
            raise PullFailed(f"{file.path}: the hub sends from one address to the next.") from error
        except httpx2.HTTPError as error:
            raise Interrupted(f"{file.path} was cut off ({_name(error)})") from error

    @contextmanager
    def _open(self, url: str, start_bytes: int) -> Iterator[httpx2.Response]:
        ranges = {"range": f"bytes={start_bytes}-"} if start_bytes else {}
        with self._client.stream("GET", url, headers=ranges) as response:
            # 416: the server thinks that there is nothing so far behind. It begins anew then.
            if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                yield response
                return
        with self._client.stream("GET", url) as response:
            yield response

    def _check(self, listing: HubListing, file: HubFile, response: httpx2.Response) -> None:
        status = response.status_code
        secure = listing.endpoint.startswith("https:")
        if secure and response.url.scheme != "https":
            raise PullFailed(f"{file.path}: the hub sends to an address without TLS; stopped.")
        if status in (200, 206):
            return
        if status in PASSING_STATUSES:
            raise Interrupted(f"{file.path}: status {status}", _retry_after_s(response))
        if status in (401, 403):
            raise self._denied(listing.repository, listing.endpoint)
        if status == 404:
            raise NotOnHub(f"{listing.repository} has no file {file.path} any more.")
        raise PullFailed(f"The hub answers status {status} for {file.path}; nothing was installed.")

    def _explain_listing(
        self, reference: HubReference, error: HfHubHTTPError
    ) -> PullFailed | Interrupted:
        repository, endpoint = reference.repository, self._api.endpoint
        status = error.response.status_code
        if status in PASSING_STATUSES:
            return Interrupted(f"status {status} from {endpoint}", _retry_after_s(error.response))
        if isinstance(error, RevisionNotFoundError):
            return NotOnHub(
                f"{repository} has no branch, tag or commit '{reference.revision}'. Look at"
                f" {endpoint}/{repository}, or leave @{reference.revision} out."
            )
        gated = isinstance(error, GatedRepoError) or status == 403
        if gated or (status == 401 and self._has_token):
            return self._denied(repository, endpoint)
        # To those who show no token, the hub says 401 of what it does not have.
        if status in (401, 404):
            return self._absent(repository, endpoint)
        return PullFailed(f"{endpoint} answers status {status} for {repository}.")

    def _absent(self, repository: str, endpoint: str) -> NotOnHub:
        hint = (
            "or private to somebody else than the owner of this token"
            if self._has_token
            else "or private: then set HF_TOKEN, or run `hf auth login`"
        )
        return NotOnHub(f"{endpoint} shows no repository '{repository}': misspelt, {hint}.")

    def _denied(self, repository: str, endpoint: str) -> HubAccessDenied:
        token = (
            "the token that was sent may not read it: check HF_TOKEN, or `hf auth whoami`"
            if self._has_token
            else "no token was sent: set HF_TOKEN, or run `hf auth login`"
        )
        return HubAccessDenied(
            f"{repository} is not open to everybody. Accept its terms at {endpoint}/{repository},"
            f" and prove who you are; {token}."
        )


def _offline(reference: HubReference) -> HubUnavailable:
    return HubUnavailable(
        f"{reference} is not here, and HF_HUB_OFFLINE forbids asking the hub. Unset it, or copy the"
        " model's folder from another machine's store."
    )


def _listing(reference: HubReference, info: ModelInfo, endpoint: str) -> HubListing:
    siblings = info.siblings or []
    if len(siblings) > MAX_LISTED_FILES:
        raise PullFailed(f"{reference.repository} has {len(siblings)} files; that is too many.")
    if not info.sha:
        raise PullFailed(f"{endpoint} does not tell which commit '{reference.revision}' is.")
    about = info.card_data
    license_name = (about.license_name or about.license) if about is not None else None
    return HubListing(
        repository=reference.repository,
        commit=info.sha,
        files=tuple(_file(sibling, endpoint) for sibling in siblings),
        license=license_name if isinstance(license_name, str) else "unknown",
        endpoint=endpoint,
    )


def _file(sibling: RepoSibling, endpoint: str) -> HubFile:
    if sibling.size is None:
        raise PullFailed(
            f"{endpoint} does not tell how long {sibling.rfilename} is. A mirror that leaves this"
            " out cannot be used; set HF_ENDPOINT to another."
        )
    if sibling.lfs is not None:
        return HubFile(sibling.rfilename, sibling.size, sha256=sibling.lfs.sha256)
    return HubFile(sibling.rfilename, sibling.size, git_oid=sibling.blob_id or "")


def _start(response: httpx2.Response, asked_bytes: int) -> int:
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    if not response.headers.get("content-range", "").startswith(f"bytes {asked_bytes}-"):
        raise Interrupted("the server sends another part than the one asked for")
    return asked_bytes


def _chunks(response: httpx2.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(CHUNK_BYTES)
    except httpx2.HTTPError as error:
        raise Interrupted(f"the connection was cut ({_name(error)})") from error


def _retry_after_s(response: httpx2.Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    return float(value) if value.isdecimal() else None


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__
