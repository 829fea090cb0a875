"""The configuration file: YAML, read safely, with its place in every complaint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from zaffre.config.documents import Document, InvalidDeclaration, Remark, read_yaml
from zaffre.config.names import ROOT_NAME
from zaffre.core.calls import OPERATIONS


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
    """The configuration in `path`. Raises `ConfigurationError` with file, line and column."""
    documents = read_yaml(path)
    if not documents:
        return ConfigFile()
    if len(documents) > 1:
        raise InvalidDeclaration([documents[1].remark((), "only one document is read here.")])
    config = documents[0].read(ConfigFile)
    troubles = list(_name_troubles(documents[0], config))
    if troubles:
        raise InvalidDeclaration(troubles)
    return config


def _name_troubles(document: Document, config: ConfigFile) -> Iterator[Remark]:
    seen: set[str] = set()
    for number, declared in enumerate(config.deployments):
        place = ("deployments", number, "name")
        if not ROOT_NAME.fullmatch(declared.name):
            text = f"'{declared.name}' cannot be a name; use letters, digits, . _ -"
            yield document.remark(place, text)
        if declared.name.lower() in seen:
            yield document.remark(place, f"'{declared.name}' is declared twice.")
        seen.add(declared.name.lower())
    for operation, name in config.defaults.items():
        if operation not in OPERATIONS:
            text = f"'{operation}' is no operation; use {', '.join(OPERATIONS)}."
            yield document.remark(("defaults", operation), text)
        elif name.lower() not in seen:
            yield document.remark(("defaults", operation), f"no deployment is called '{name}'.")
