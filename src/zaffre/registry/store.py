"""The model store: which models are on this machine, and where their files are.

    HOME/models/NAME/card.json      what is known about the model (`ModelCard`)
    HOME/models/NAME/origin.json    where its files came from and what they must look like
    HOME/models/NAME/...            the files
    HOME/partial/NAME/              a pull in progress; never read by anybody else
    HOME/locks/NAME.lock            held while a pull or a removal of NAME is going on

A model appears and disappears by renaming its folder, so a reader sees all of it or nothing.
A folder with a `card.json` and no `origin.json` is a model that a person put there.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from zaffre.core.cards import ModelCard
from zaffre.registry.errors import InvalidModelName, ModelDamaged, ModelNotInstalled

CARD_FILE = "card.json"
ORIGIN_FILE = "origin.json"
MAX_CARD_BYTES = 1024 * 1024
Record = TypeVar("Record", ModelCard, "Origin")

NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?")


class StoredFile(Struct, frozen=True):
    """A file of an installed model, as it was when it was installed."""

    name: str
    """Relative to the model's folder, with forward slashes."""
    sha256: str
    size_bytes: int


class HubOrigin(Struct, frozen=True, kw_only=True):
    """The repository that an installed model came from."""

    endpoint: str
    """The hub's address."""
    repository: str
    revision: str
    """What was asked for: a branch, a tag, or a commit."""
    commit: str
    """What that was when the model was pulled."""
    file: str
    """Which model of the repository, as it was asked for; "" for the only one."""


class Origin(Struct, frozen=True):
    """Where an installed model came from."""

    recipe: str
    """Digest of all that decided what its files hold (`CatalogueModel.recipe`)."""
    packages: tuple[str, ...]
    """`name==version` of the packages its files were taken from."""
    files: tuple[StoredFile, ...]
    hub: HubOrigin | None = None
    """None for a model that came from packages."""


class InstalledModel(Struct, frozen=True):
    """A model in the store."""

    card: ModelCard
    path: Path
    """What an engine opens: the one GGUF file, or the model's folder."""
    folder: Path
    origin: Origin | None = None
    """None for a model that a person put into the store."""

    @property
    def size_bytes(self) -> int:
        """Bytes on disk of all its files."""
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


def default_home(environ: Mapping[str, str]) -> Path:
    """Where Zaffre keeps its files: ZAFFRE_HOME, else under XDG_DATA_HOME, else ~/.local/share."""
    if environ.get("ZAFFRE_HOME"):
        return Path(environ["ZAFFRE_HOME"]).expanduser()
    shared = environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    if shared and Path(shared).is_absolute():
        return Path(shared) / "zaffre"
    user = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return user / ".local" / "share" / "zaffre"


def check_name(name: str) -> str:
    """Return `name`. Raises `InvalidModelName` when it could not be a folder of the store."""
    if not NAME_PATTERN.fullmatch(name) or ".." in name:
        raise InvalidModelName(name)
    return name


class ModelStore:
    """The models under `home`, which need not exist yet."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def folder(self, name: str) -> Path:
        """Where the files of `name` are, or would be. Raises `InvalidModelName`."""
        return self.home / "models" / check_name(name)

    def partial(self, name: str) -> Path:
        """Where the files of `name` are gathered before they are a model."""
        return self.home / "partial" / check_name(name)

    def find(self, name: str) -> InstalledModel:
        """The installed model `name`.

        Raises `InvalidModelName`, `ModelNotInstalled`, or `ModelDamaged` when its card is
        unreadable or a file is missing or of the wrong size.
        """
        folder = self.folder(name)
        if not folder.is_dir():
            raise ModelNotInstalled(name)
        card = self._read(folder, CARD_FILE, ModelCard)
        if card is None:
            raise ModelDamaged(name, f"it has no {CARD_FILE}")
        origin = self._read(folder, ORIGIN_FILE, Origin)
        if origin is not None:
            _check_files(name, folder, origin)
        path = _gguf_file(name, folder) if card.format == "gguf" else folder
        return InstalledModel(card, path, folder, origin)

    def installed(self) -> list[InstalledModel]:
        """All whole models, by name. Damaged ones are left out; `damaged` lists them."""
        return [found for found in self._scan() if isinstance(found, InstalledModel)]

    def damaged(self) -> list[ModelDamaged]:
        """Why each model that is there cannot be used."""
        return [found for found in self._scan() if isinstance(found, ModelDamaged)]

    def partial_bytes(self, name: str) -> int:
        """Bytes of a download of `name` that was cut off, or is going on."""
        files = self.partial(name).rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())

    def begun(self) -> dict[str, int]:
        """Downloads that were cut off or are going on: the model's name and the bytes here."""
        root = self.home / "partial"
        names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        found = {name: self.partial_bytes(name) for name in names if NAME_PATTERN.fullmatch(name)}
        return {name: size_bytes for name, size_bytes in found.items() if size_bytes}

    def remove(self, name: str) -> None:
        """Delete the model `name`, damaged or not, and what there is of a download of it.

        Raises `ModelNotInstalled` when there is neither.
        """
        with self.lock(name):
            folder = self.folder(name)
            if not folder.is_dir() and not self.partial_bytes(name):
                raise ModelNotInstalled(name)
            if folder.is_dir():
                self._move_out(folder, name)
            shutil.rmtree(self.partial(name), ignore_errors=True)

    def install(self, name: str, gathered: Path) -> InstalledModel:
        """Put the folder `gathered` in place of the model `name`. Call it under `lock(name)`.

        `gathered` lies inside `partial(name)`, so that it moves by a rename.
        """
        folder = self.folder(name)
        _sync_tree(gathered)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            self._move_out(folder, name)
        gathered.rename(folder)
        _sync_folder(folder.parent)
        return self.find(name)

    def replace_card(self, card: ModelCard) -> InstalledModel:
        """Give the installed model of this name another card. Call it under `lock(card.name)`."""
        partial = self.partial(card.name)
        partial.mkdir(parents=True, exist_ok=True)
        write_record(partial / CARD_FILE, card)
        (partial / CARD_FILE).replace(self.folder(card.name) / CARD_FILE)
        with suppress(OSError):
            partial.rmdir()  # unless a download was cut off there
        return self.find(card.name)

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Be the only process that changes the model `name`; `waiting` is told when it must wait.

        The kernel frees the lock of a process that dies.
        """
        path = self.home / "locks" / f"{check_name(name)}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _scan(self) -> Iterator[InstalledModel | ModelDamaged]:
        root = self.home / "models"
        if not root.is_dir():
            return
        for folder in sorted(root.iterdir()):
            if not folder.is_dir() or not NAME_PATTERN.fullmatch(folder.name):
                continue
            try:
                yield self.find(folder.name)
            except ModelDamaged as damage:
                yield damage
            except ModelNotInstalled:
                continue  # removed since the folder was listed

    def _move_out(self, folder: Path, name: str) -> None:
        trash = self.partial(name) / "old"
        trash.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(trash, ignore_errors=True)
        folder.rename(trash)
        shutil.rmtree(trash)

    def _read(self, folder: Path, name: str, kind: type[Record]) -> Record | None:
        path = folder / name
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_CARD_BYTES), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as trouble:
            raise ModelDamaged(folder.name, f"{name} cannot be read ({trouble})") from trouble


def write_record(path: Path, record: ModelCard | Origin) -> None:
    """Write `record` to `path` as JSON that people can read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def _check_files(name: str, folder: Path, origin: Origin) -> None:
    for file in origin.files:
        path = folder / file.name
        if not path.is_file():
            raise ModelDamaged(name, f"{file.name} is missing")
        size_bytes = path.stat().st_size
        if size_bytes != file.size_bytes:
            raise ModelDamaged(
                name, f"{file.name} has {size_bytes} bytes instead of {file.size_bytes}"
            )


def _gguf_file(name: str, folder: Path) -> Path:
    # Of a model split into parts, llama.cpp opens the first, which names the others.
    files = sorted(f for f in folder.glob("*.gguf") if not f.name.lower().startswith("mmproj"))
    first = [f for f in files if "-00001-of-" in f.name] or files
    if not files:
        raise ModelDamaged(name, "it has no .gguf file")
    if len(first) > 1:
        raise ModelDamaged(name, f"it has several models: {', '.join(f.name for f in first)}")
    return first[0]


def _sync_tree(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in [root, *(p for p in root.rglob("*") if p.is_dir())]:
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
