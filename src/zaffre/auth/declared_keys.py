"""Keys that the configuration names: each is read from where somebody else keeps it."""

import re
from collections.abc import Mapping
from pathlib import Path

from zaffre.auth.keys import MAX_KEY_CHARACTERS
from zaffre.auth.keystore import ConfiguredKey
from zaffre.config.auth_section import AuthDeclaration, KeyDeclaration
from zaffre.config.settings import ConfigurationError

_KEY_TEXT = re.compile(rf"[!-~]{{1,{MAX_KEY_CHARACTERS}}}")  # what goes into a header as it is


def read_keys(
    declared: AuthDeclaration, environ: Mapping[str, str], base: Path
) -> list[ConfiguredKey]:
    """The declared keys; relative files start at `base`. Raises `ConfigurationError`."""
    keys = []
    for declaration in declared.keys:
        text = _read(declaration, environ, base)
        if not _KEY_TEXT.fullmatch(text):
            raise ConfigurationError(
                f"auth.keys: '{declaration.name}' is not 1 to {MAX_KEY_CHARACTERS} visible ASCII"
                " characters."
            )
        keys.append(ConfiguredKey(declaration.name, text, declaration.grant()))
    return keys


def _read(declaration: KeyDeclaration, environ: Mapping[str, str], base: Path) -> str:
    if declaration.key_file is not None:
        path = base / Path(declaration.key_file).expanduser()
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ConfigurationError(f"auth.keys: {path}: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"auth.keys: {path}: is not ASCII.") from None
    variable = declaration.key_env or ""
    if not environ.get(variable):
        raise ConfigurationError(f"auth.keys: '{declaration.name}': ${variable} is not set.")
    return environ[variable]
