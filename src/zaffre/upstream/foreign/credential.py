"""Credentials for other people's servers: from the environment or a file, and shown nowhere."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from zaffre.config.settings import ConfigurationError
from zaffre.core.plan import Upstream
from zaffre.wire import codec

MAX_CREDENTIAL_CHARS = 16_384
"""Tokens with many claims have several thousand."""


class Credential:
    """A secret that does not print itself."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._forms = (secret, quote(secret, safe=""), codec.encode(secret).decode()[1:-1])

    def __repr__(self) -> str:
        """Not the secret."""
        return "Credential(...)"

    def reveal(self) -> str:
        """The secret itself, for a header."""
        return self._secret

    def occurs_in(self, text: str) -> bool:
        """Whether `text` gives it away."""
        return any(form in text for form in self._forms)


def read_credential(upstream: Upstream, environ: Mapping[str, str]) -> Credential | None:
    """The credential that `upstream` names; None where it names none.

    Raises `ConfigurationError` that tells where it was looked for, and never what was there.
    """
    if upstream.key_env is not None and upstream.key_file is not None:
        raise ConfigurationError("An upstream has either key_env or key_file, not both.")
    if upstream.key_env is not None:
        place, secret = f"variable {upstream.key_env}", environ.get(upstream.key_env, "")
    elif upstream.key_file is not None:
        place, secret = f"file {upstream.key_file}", _read(Path(upstream.key_file))
    else:
        return None
    secret = secret.strip()
    if not secret:
        raise ConfigurationError(f"The {place} has no credential for its upstream.")
    visible = secret.isascii() and secret.isprintable() and " " not in secret
    if not visible or len(secret) > MAX_CREDENTIAL_CHARS:
        raise ConfigurationError(
            f"The {place} has no credential that fits into a header: up to"
            f" {MAX_CREDENTIAL_CHARS} visible ASCII characters."
        )
    return Credential(secret)


def check_url(url: str) -> None:
    """Raises `ConfigurationError` for a base URL that cannot be one, or holds a credential."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("An upstream's url cannot be read.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ConfigurationError("An upstream's url begins with http://HOST or https://HOST.")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("An upstream's url holds no credential; use key_env or key_file.")
    if parts.fragment:
        raise ConfigurationError("An upstream's url has no part after '#'.")


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CREDENTIAL_CHARS + 2)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigurationError(f"The upstream's key_file {path} cannot be read: {reason}.") from (
            None
        )
