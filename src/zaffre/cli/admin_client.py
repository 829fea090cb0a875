"""A client of a server's admin API: where the server is, which key is shown, what went wrong."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2
from msgspec import Struct

from zaffre import __version__
from zaffre.config.names import ROOT_NAME
from zaffre.config.settings import ConfigurationError
from zaffre.core.errors import ZaffreError
from zaffre.wire import codec

DEFAULT_URL = "http://127.0.0.1:8080"
KEY_VARIABLES = ("ZAFFRE_ADMIN_KEY", "ZAFFRE_KEY")
"""The first one that is set holds the key. No option does: others see a command's options."""
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 3600.0
"""For a change: a server fetches the models that it has not got before it answers."""

Shown = dict[str, Any]
"""An endpoint or deployment, as the server shows it."""


class AdminFailed(ZaffreError):
    """The server could not be asked, or it refused."""

    code = "admin_failed"

    def __init__(self, message: str, *, refused_as: str | None = None) -> None:
        super().__init__(message)
        self.refused_as = refused_as
        """The server's word for why it refused; None when it said none."""


class _ErrorItem(Struct):
    code: str
    message: str


class _ErrorBody(Struct):
    error: _ErrorItem


class AdminClient:
    """One server's admin API. `key_name` is what people call the place that the key came from.

    Every method raises `AdminFailed`, with one sentence that says what to do.
    """

    def __init__(
        self,
        url: str,
        key: str,
        key_name: str,
        *,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = _base(url)
        self._key_name = key_name
        # A line end, as files have it, would only be noticed deep inside, with the key shown.
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise ConfigurationError(f"{key_name} has spaces or characters that no key has.")
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "api-key": key,
            "user-agent": f"zaffre-cli/{__version__}",
        }
        try:
            self._http = httpx2.Client(headers=headers, transport=transport)
        except OSError as error:
            raise ConfigurationError(
                f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error.strerror or error}."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """What is at `path`, which begins behind /admin/."""
        return self._ask("GET", path, query=query)

    def find(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """What is at `path`; None when nothing is."""
        try:
            return self.get(path)
        except AdminFailed as failed:
            if failed.refused_as == "not_found":
                return None
            raise

    def change(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The server's answer to a change. It may take long: models are fetched meanwhile."""
        return self._ask(method, path, body=body, timeout_s=CHANGE_TIMEOUT_S)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Any:  # noqa: ANN401 - JSON
        content = None if body is None else codec.encode(body)
        try:
            response = self._http.request(
                method,
                f"{self.url}/admin/{path}",
                content=content,
                params=query,
                headers={"content-type": "application/json"},
                timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
            )
        except httpx2.HTTPError as error:
            raise self._unanswered(error, timeout_s) from None
        if response.status_code == 200:
            try:
                return codec.decode(response.content, Any)
            except codec.MalformedError:
                raise self._stranger(response) from None
        raise self._refusal(response)

    def _unanswered(self, error: httpx2.HTTPError, timeout_s: float) -> AdminFailed:
        text = str(error).rstrip(".") or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return AdminFailed(
                f"the certificate of {self.url} is not trusted; trust the authority that signed it"
                " with: export SSL_CERT_FILE=ca.pem"
            )
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return AdminFailed(
                f"no server answers at {self.url}: start one with 'zaffre serve', or say where it"
                " is with --url or ZAFFRE_URL."
            )
        if isinstance(error, httpx2.TimeoutException):
            return AdminFailed(f"{self.url} sent nothing for {timeout_s:g} seconds.")
        hint = " Does it speak https?" if self.url.startswith("http:") else ""
        return AdminFailed(f"{self.url} broke off: {text}.{hint}")

    def _refusal(self, response: httpx2.Response) -> AdminFailed:
        try:
            said = codec.decode(response.content, _ErrorBody).error
        except codec.MalformedError:
            return self._stranger(response)
        if said.code == "permission_denied":
            sentence = (
                f"the key in {self._key_name} may not do this; one that may is made with:"
                " zaffre keys create NAME --permission admin"
            )
        elif response.status_code == 401:
            sentence = f"{self.url} refuses the key in {self._key_name}."
        else:
            sentence = said.message
        return AdminFailed(sentence, refused_as=said.code)

    def _stranger(self, response: httpx2.Response) -> AdminFailed:
        return AdminFailed(
            f"{self.url} is no Zaffre server: it answered with status {response.status_code} and"
            " something that is not Zaffre's."
        )


def connect(url: str) -> AdminClient:
    """The server at `url`, with the key of the environment. Raises `ConfigurationError`."""
    for variable in KEY_VARIABLES:
        if key := os.environ.get(variable):
            return AdminClient(url, key, variable)
    raise ConfigurationError(f"no key: export {KEY_VARIABLES[0]}=<a key that may administrate>")


def endpoint_path(endpoint: str) -> str:
    """Where an endpoint is. Raises `ConfigurationError` for what cannot be a name."""
    return f"endpoints/{_step(endpoint)}"


def deployment_path(endpoint: str | None, deployment: str) -> str:
    """Where a deployment is; without an endpoint, at the root. Raises `ConfigurationError`."""
    return f"{deployments_path(endpoint)}/{_step(deployment)}"


def deployments_path(endpoint: str | None) -> str:
    """Where the deployments of an endpoint are, or those outside endpoints."""
    return "deployments" if endpoint is None else f"{endpoint_path(endpoint)}/deployments"


def _step(name: str) -> str:
    # A slash in a name would be the path of something else, perhaps of something to delete.
    if not ROOT_NAME.fullmatch(name):
        raise ConfigurationError(f"'{name}' cannot be a name; use letters, digits, . _ -")
    return quote(name, safe="")


def _base(url: str) -> str:
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL as invalid:
        raise ConfigurationError(f"'{url}' is no address: {invalid}.") from None
    if base.scheme not in ("http", "https") or not base.host:
        raise ConfigurationError(f"'{url}' is no address: it starts with http:// or https://.")
    if base.userinfo or base.query or base.fragment:
        raise ConfigurationError("the server's address has no key, '?' or '#' in it.")
    return str(base).rstrip("/")
