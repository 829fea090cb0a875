"""Where a server is, and how a program shows that it may enter."""

import httpx2

from zaffre import __version__

MODELS = "/models"


class Endpoint:
    """A server's address with the key and the version of the API.

    `url` is what the server's owner hands out: `https://host`, with a path or not; a query in it
    goes along with every request, and an `api-version` there wins. Raises `ValueError` for an
    address or a key that cannot be one.
    """

    def __init__(self, url: str, key: str, api_version: str) -> None:
        try:
            base = httpx2.URL(url)
        except httpx2.InvalidURL as invalid:
            raise ValueError(f"The endpoint {url!r} is not an address: {invalid}.") from None
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError(f"The endpoint {url!r} must start with http:// or https://.")
        if base.userinfo:
            raise ValueError("The endpoint must not contain a password: give the key as `key`.")
        # A line end, as files have it, would only be noticed deep inside, with the key shown.
        if not key.isascii() or not key.isprintable() or key != key.strip():
            raise ValueError("The key has characters that no header can carry, or outer spaces.")
        if "api-version" not in base.params:
            base = base.copy_merge_params({"api-version": api_version})
        self._base = base.copy_with(path=base.path.rstrip("/") or "/", fragment=None)
        self._key = key

    def headers(self) -> dict[str, str]:
        """What every request carries. The key goes both ways, as the vendor's SDKs send it."""
        return {
            "accept": "application/json",
            # Answers are small or arrive in pieces; nothing that inflates is asked for.
            "accept-encoding": "identity",
            "api-key": self._key,
            "authorization": f"Bearer {self._key}",
            "user-agent": f"zaffre-python/{__version__}",
        }

    def url(self, path: str, **query: str | None) -> httpx2.URL:
        """The address of the operation at `path`, with those of `query` that are not None."""
        given = {name: value for name, value in query.items() if value is not None}
        root = self._base.path.rstrip("/")
        return self._base.copy_with(path=root + path).copy_merge_params(given)

    def models_url(self) -> httpx2.URL:
        """The address of the list of models: the endpoint itself where it ends in `/models`."""
        return self._base if self._base.path.endswith(MODELS) else self.url(MODELS)
