"""Pulling a model from a hub: download what is missing of it, verify it, install it whole.

    HOME/partial/NAME/pieces/CONTENT    one file, as far as it has come; named by its content
    HOME/partial/NAME/files/...         the model, just before it is installed

An interrupted pull leaves its pieces, and the next one goes on with them.
"""

import hashlib
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from zaffre.core.cards import ModelCard
from zaffre.core.errors import EngineFailed
from zaffre.registry.catalogue import CatalogueModel, hub_recipe
from zaffre.registry.choice import Choice, check_path, check_reference, choose_files
from zaffre.registry.contents import check_content
from zaffre.registry.describe import describe
from zaffre.registry.download import Pause, download, persist, present_bytes
from zaffre.registry.errors import FileRefused, PullFailed
from zaffre.registry.hub import Connect, HubListing, HubSource
from zaffre.registry.layouts import ChosenFile
from zaffre.registry.onnxfile import NotOnnx, read_outline
from zaffre.registry.pull import (
    PullStep,
    Stage,
    Watch,
    installed_by_recipe,
    require_room,
)
from zaffre.registry.references import HubReference
from zaffre.registry.store import (
    CARD_FILE,
    ORIGIN_FILE,
    HubOrigin,
    InstalledModel,
    ModelStore,
    Origin,
    StoredFile,
    write_record,
)

MAX_EXTERNAL_FILES = 4096
"""Files that hold weights of ONNX networks; some exports have one for each tensor."""


def pull_from_hub(
    store: ModelStore,
    wanted: CatalogueModel | HubReference,
    connect: Connect,
    watch: Watch = lambda _: None,
    *,
    update: bool = False,
    pause: Pause = time.sleep,
) -> InstalledModel:
    """Install `wanted` unless it is there already, and return it.

    Of several processes that pull the same model, one works and the others wait for it. With
    `update` a model that is there is replaced when its branch has moved on. The hub is asked only
    when it must be; `pause` waits between attempts.

    Raises `PullFailed`; what has been downloaded stays where the cause may pass.
    """
    task = _HubPull(store, wanted, connect, watch, pause)
    try:
        with store.lock(task.name, task.tell_waiting):
            return task.run(update)
    except OSError as trouble:
        raise PullFailed(f"Model '{task.name}' could not be stored: {trouble}.") from trouble


class _HubPull:
    """One pull, under the model's lock."""

    def __init__(
        self,
        store: ModelStore,
        wanted: CatalogueModel | HubReference,
        connect: Connect,
        watch: Watch,
        pause: Pause,
    ) -> None:
        if isinstance(wanted, CatalogueModel):
            if wanted.reference is None:
                raise ValueError(f"{wanted.name} comes from packages")
            self.name, self._reference = wanted.name, wanted.reference
            self._card: ModelCard | None = wanted.card
        else:
            self.name, self._reference, self._card = wanted.store_name, wanted, None
        self._store, self._connect, self._watch, self._pause = store, connect, watch, pause
        self._partial = store.partial(self.name)
        self._step = PullStep(self.name, "asking", 0, 0)
        self._digests: dict[str, str] = {}

    def tell_waiting(self) -> None:
        self._tell("waiting")

    def run(self, update: bool) -> InstalledModel:
        recipe = hub_recipe(self._reference)
        current = installed_by_recipe(self._store, self.name, recipe)
        if current is not None and self._card not in (None, current.card):
            current = self._store.replace_card(self._card or current.card)
        if current is not None and not update:
            return self._found(current)
        check_reference(self._reference)
        with self._connect() as source:
            return self._bring(source, current)

    def _bring(self, source: HubSource, current: InstalledModel | None) -> InstalledModel:
        self._tell("asking")
        listing = persist(lambda: source.listing(self._reference), self._pause)
        place = replace(self._reference, revision=listing.commit)
        self._step = replace(self._step, place=f"{place} on {listing.endpoint}")
        if current is not None and _commit(current) == listing.commit:
            return self._found(current)
        return self._fetch(source, listing)

    def _found(self, current: InstalledModel) -> InstalledModel:
        size_bytes = current.size_bytes
        self._step = replace(self._step, done_bytes=size_bytes, total_bytes=size_bytes)
        self._tell("done")
        return current

    def _fetch(self, source: HubSource, listing: HubListing) -> InstalledModel:
        choice = choose_files(listing, self._reference)
        if self._card is not None and self._card.format != choice.format:
            raise PullFailed(
                f"The catalogue says that '{self.name}' is {self._card.format}, and"
                f" {self._step.place} is {choice.format}: the repository has changed."
            )
        try:
            gathered = self._prepare(source, listing, choice)
        except FileRefused:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise
        except EngineFailed as trouble:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise PullFailed(
                f"{self._step.place} is no model that can be used: {trouble.message}"
            ) from trouble
        installed = self._store.install(self.name, gathered)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._tell("done")
        return installed

    def _prepare(self, source: HubSource, listing: HubListing, choice: Choice) -> Path:
        """The folder of the model as it will be installed."""
        self._drop_other_pieces(choice.files)
        self._gather(source, listing, choice.files)
        files = (*choice.files, *self._external_files(listing, choice))
        if len(files) > len(choice.files):
            self._gather(source, listing, files)
        self._tell("checking")
        gathered = self._assemble(files)
        self._describe(gathered, listing, choice, files)
        return gathered

    def _gather(self, source: HubSource, listing: HubListing, files: Sequence[ChosenFile]) -> None:
        """Have the pieces of `files` here, whole and verified."""
        pieces = {file.source.content_key: file for file in files}
        total_bytes = sum(file.source.size_bytes for file in pieces.values())
        here_bytes = sum(present_bytes(self._piece(file)) for file in pieces.values())
        self._step = replace(self._step, total_bytes=total_bytes)
        (self._partial / "pieces").mkdir(parents=True, exist_ok=True)
        require_room(self._store, self.name, total_bytes - here_bytes)
        before_bytes = 0
        # Small ones first: what is wrong with a model then shows before the long download.
        for key, file in sorted(pieces.items(), key=lambda item: item[1].source.size_bytes):

            def advance(file_bytes: int, before_bytes: int = before_bytes) -> None:
                self._step = replace(self._step, done_bytes=before_bytes + file_bytes)
                self._tell("downloading")

            if key not in self._digests:
                self._copy_local(file)
                self._digests[key] = download(
                    source, listing, file.source, self._piece(file), advance, self._pause
                )
            before_bytes += file.source.size_bytes
            advance(0, before_bytes)

    def _copy_local(self, file: ChosenFile) -> None:
        """Take the file from another model that is installed, if one has the same."""
        sha256, piece = file.source.sha256, self._piece(file)
        if not sha256 or piece.exists():
            return
        for model in self._store.installed():
            for stored in model.origin.files if model.origin else ():
                if stored.sha256 == sha256:
                    copy = piece.with_suffix(".copy")
                    shutil.copyfile(model.folder / stored.name, copy)
                    with copy.open("rb") as content:
                        changed = hashlib.file_digest(content, "sha256").hexdigest() != sha256
                    if not changed:
                        copy.rename(piece)
                        return
                    copy.unlink()

    def _piece(self, file: ChosenFile) -> Path:
        return self._partial / "pieces" / file.source.content_key

    def _drop_other_pieces(self, files: Iterable[ChosenFile]) -> None:
        """Delete what an earlier pull began and this one has no use for."""
        wanted = {file.source.content_key for file in files}
        for piece in (self._partial / "pieces").glob("*"):
            if piece.name not in wanted:
                piece.unlink()
        shutil.rmtree(self._partial / "files", ignore_errors=True)

    def _external_files(self, listing: HubListing, choice: Choice) -> list[ChosenFile]:
        """Files that the networks name as theirs and that are not chosen yet."""
        known = {file.name for file in choice.files}
        there = {file.path: file for file in listing.files}
        found: dict[str, ChosenFile] = {}
        for network in (file for file in choice.files if file.kind == "onnx"):
            for location in _external_locations(self._piece(network), network):
                name = str(PurePosixPath(network.name).parent / location)
                path = str(PurePosixPath(network.source.path).parent / location)
                if name in known:
                    continue
                if path not in there or len(found) >= MAX_EXTERNAL_FILES:
                    raise PullFailed(
                        f"{network.source.path} has weights in a file {location!r}, which is not in"
                        " the repository."
                    )
                found[name] = ChosenFile(there[path], name, "weights")
        return list(found.values())

    def _assemble(self, files: Sequence[ChosenFile]) -> Path:
        gathered = self._partial / "files"
        for file in files:
            target = gathered / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            # Linked, not moved: two names may have one content, and who is killed here has lost
            # nothing.
            try:
                target.hardlink_to(self._piece(file))
            except OSError:
                shutil.copyfile(self._piece(file), target)
        for file in files:
            check_content(gathered / file.name, file.kind)
        return gathered

    def _describe(
        self, gathered: Path, listing: HubListing, choice: Choice, files: Sequence[ChosenFile]
    ) -> None:
        main = gathered / choice.files[0].name if choice.format == "gguf" else gathered
        card = self._card or replace(
            describe(self.name, gathered, choice.format, main),
            title=str(self._reference).removeprefix("hf:"),
            provider=self._reference.owner or "unknown",
            license=listing.license,
        )
        stored = tuple(
            StoredFile(file.name, self._digests[file.source.content_key], file.source.size_bytes)
            for file in sorted(files, key=lambda file: file.name)
        )
        origin = HubOrigin(
            endpoint=listing.endpoint,
            repository=listing.repository,
            revision=self._reference.revision,
            commit=listing.commit,
            file=self._reference.file,
        )
        recipe = hub_recipe(self._reference)
        write_record(gathered / ORIGIN_FILE, Origin(recipe, (), stored, origin))
        write_record(gathered / CARD_FILE, card)

    def _tell(self, stage: Stage) -> None:
        self._watch(replace(self._step, stage=stage))


def _external_locations(piece: Path, network: ChosenFile) -> tuple[str, ...]:
    try:
        locations = read_outline(piece).external
    except NotOnnx:
        return ()  # refused with the others, and with its name, when all are here
    for location in locations:
        check_path(location)
        if location.lower().endswith((".py", ".json", ".onnx")):
            raise FileRefused(f"{network.source.path} calls {location!r} its weights.")
    return locations


def _commit(model: InstalledModel) -> str | None:
    hub = model.origin.hub if model.origin is not None else None
    return hub.commit if hub is not None else None
