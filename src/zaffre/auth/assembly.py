"""Assembly: a chain out of what is configured. Libraries for tokens load only where some count."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from zaffre.auth.chain import AuthChain, Tokens
from zaffre.auth.keystore import ConfiguredKey, KeyStore
from zaffre.config.auth_section import IssuerDeclaration
from zaffre.config.settings import ConfigurationError
from zaffre.core.principals import Principal


def make_chain(
    home: Path,
    *,
    configured: Sequence[ConfiguredKey] = (),
    issuers: Sequence[IssuerDeclaration] = (),
    anybody: Principal | None = None,
) -> AuthChain:
    """The chain of a server whose keys are in `home`.

    `configured` are the keys of the configuration, `anybody` is who calls without any. Raises
    `KeyFileError`, or `ConfigurationError` for issuers that cannot be asked.
    """
    tokens = _verifier(issuers) if issuers else None
    return AuthChain(KeyStore(home, configured=configured), tokens=tokens, anybody=anybody)


def _verifier(issuers: Sequence[IssuerDeclaration]) -> Tokens:
    try:
        module = import_module("zaffre.auth.tokens")
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"auth.issuers needs the package '{missing.name}': pip install 'zaffre[server]'."
        ) from None
    verifier: Tokens = module.TokenVerifier(issuers)
    return verifier
