"""The configuration file: YAML, read safely, with line numbers in every complaint."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta, Struct

from zaffre.config.settings import ConfigurationError
from zaffre.core.calls import OPERATIONS

DEPLOYMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_FILE_BYTES = 1024 * 1024
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]")


class DeploymentDeclaration(Struct, frozen=True, forbid_unknown_fields=True):
    """A model to serve, as the file declares it."""

    name: str
    model: str
    """A model of the catalogue, or `path:` and a file or folder."""
    engine: str | None = None
    options: dict[str, str | int | float | bool] = {}
    slots: Annotated[int, Meta(ge=1)] | None = None
    threads: Annotated[int, Meta(ge=1)] | None = None


class ConfigFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole configuration file."""

    settings: dict[str, Any] = {}
    deployments: list[DeploymentDeclaration] = []
    defaults: dict[str, str] = {}
    """Operation (chat, complete, embed, embed_images) -> deployment."""


def read_config(path: Path) -> ConfigFile:
    """The configuration in `path`. Raises `ConfigurationError` with file and line."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"{path}: larger than {MAX_FILE_BYTES} bytes.")
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8.") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {_yaml_trouble(error)}") from None
    except ValueError as error:  # a date or number in YAML's form that is none, as 2024-13-45
        raise ConfigurationError(f"{path}: {error}.") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: is nested too deeply.") from None
    try:
        config = msgspec.convert(document or {}, ConfigFile)
    except msgspec.ValidationError as invalid:
        text, _, place = str(invalid).partition(" - at `$")
        line = _line_of(tree, place.rstrip("`"))
        raise ConfigurationError(f"{path}:{line}: {place.strip('.`') or 'file'}: {text}.") from None
    _check_names(path, tree, config)
    return config


def _check_names(path: Path, tree: yaml.Node | None, config: ConfigFile) -> None:
    seen: set[str] = set()
    for number, declared in enumerate(config.deployments):
        line = _line_of(tree, f".deployments[{number}].name")
        if not DEPLOYMENT_NAME.fullmatch(declared.name):
            raise ConfigurationError(
                f"{path}:{line}: '{declared.name}' cannot be a name; use letters, digits, . _ -"
            )
        if declared.name.lower() in seen:
            raise ConfigurationError(f"{path}:{line}: '{declared.name}' is declared twice.")
        seen.add(declared.name.lower())
    for operation, name in config.defaults.items():
        line = _line_of(tree, f".defaults.{operation}")
        if operation not in OPERATIONS:
            raise ConfigurationError(
                f"{path}:{line}: '{operation}' is no operation; use {', '.join(OPERATIONS)}."
            )
        if name.lower() not in seen:
            raise ConfigurationError(f"{path}:{line}: no deployment is called '{name}'.")


def _yaml_trouble(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}{getattr(error, 'problem', None) or 'is not YAML'}."


def _line_of(node: yaml.Node | None, place: str) -> int:
    """The line (from 1) of the value at `place` (`.deployments[0].name`), or of its parent."""
    line = node.start_mark.line + 1 if node else 1
    for name, index in _STEP.findall(place):
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode) and name:
            child = next((value for key, value in node.value if key.value == name), None)
        elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
            child = node.value[int(index)]
        if child is None:
            return line
        node, line = child, child.start_mark.line + 1
    return line
