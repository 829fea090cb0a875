"""Which files of a repository are the model that was asked for."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from zaffre.core.cards import ModelFormat
from zaffre.registry.errors import FileRefused, NotOnHub, PullFailed, SeveralModels
from zaffre.registry.hub import HubListing
from zaffre.registry.layouts import (
    Candidate,
    ChosenFile,
    gguf_models,
    onnx_models,
    openvino_models,
)
from zaffre.registry.references import HubReference

MAX_FILES = 512
"""Of one model; the largest that are split have some 100 parts."""
MAX_SMALL_FILE_BYTES = 128 * 1024 * 1024
"""Of a file that is read as text; vocabularies take up to 35 MB."""
MAX_FILE_BYTES = 50_000_000_000
"""The Hugging Face hub gives no larger ones over plain HTTP; larger models come in parts."""
MAX_CHOICES_SHOWN = 24

LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "Notice*", "USE_POLICY*")
RUNNING_CODE = (
    *(".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npz", ".npy", ".h5"),
    *(".keras", ".py", ".sh", ".so", ".dll", ".zip", ".tar", ".gz"),
)
"""Endings of files that can run code when they are opened, or are code, or hide it."""

_PLAIN_PATH = re.compile(r"[^\x00-\x1f\x7f\\:]{1,512}")


class Choice(Struct, frozen=True):
    """A model in a repository."""

    format: ModelFormat
    files: tuple[ChosenFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.source.size_bytes for file in self.files)


def check_reference(reference: HubReference) -> None:
    """Raises `FileRefused` when `reference` names a kind of file that is never taken."""
    if reference.file.lower().endswith(RUNNING_CODE):
        raise FileRefused(
            f"{reference}: a file of this kind can run code when it is opened, so it is not taken."
            " Zaffre takes GGUF, OpenVINO IR and ONNX; look for a conversion of this model."
        )


def choose_files(listing: HubListing, reference: HubReference) -> Choice:
    """The files of the model that `reference` means, and the texts of its licence.

    Raises `NotOnHub`, `SeveralModels` with the choices, or `FileRefused`.
    """
    check_reference(reference)
    for file in listing.files:
        check_path(file.path)
    wanted = reference.file
    groups = [
        openvino_models(listing.files),
        gguf_models(listing.files),
        onnx_models(listing.files),
    ]
    # An unnamed model is looked for in one format only: what else there is are its conversions.
    shown = next(
        (group for group in ([c for c in group if not c.hidden] for group in groups) if group), []
    )
    if wanted:
        every = [candidate for group in groups for candidate in group]
        found = [candidate for candidate in every if _is_meant(candidate, wanted)]
    else:
        found = shown
    chosen = _only(found) or (None if wanted else _only([each for each in found if each.default]))
    if chosen is None:
        raise _cannot_choose(reference, listing, found or shown, bool(found))
    choice = Choice(chosen.format, (*chosen.files, *_licences(listing)))
    _check_sizes(reference, choice)
    return choice


def check_path(path: str) -> None:
    """Raises `FileRefused` unless `path` leads to a place inside a folder."""
    if not _PLAIN_PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")):
        raise FileRefused(
            f"The repository has a file called {path[:200]!r}, which is no path inside a folder. An"
            " honest hub has none such; nothing of this repository is taken."
        )


def readable_size(size_bytes: int) -> str:
    """`size_bytes` for people: `2.4 GB`, `98.4 MB`, `11.4 kB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes / 1000:.1f} kB"


def _is_meant(candidate: Candidate, wanted: str) -> bool:
    main = candidate.files[0].source
    word, stem = wanted.lower().rstrip("/"), candidate.stem.lower()
    if "*" in word:
        return fnmatchcase(main.path.lower(), word)
    if any(wanted in (file.source.path, file.source.basename) for file in candidate.files):
        # A file beside the weights names no model.
        return wanted.lower().endswith((".gguf", ".onnx", ".xml"))
    if word == candidate.label.lower():
        return True
    # `Q4_K` is not `Q4_K_M`: an underscore ends no quantisation.
    quantised = rf"(?:^|[-./]){re.escape(word)}(?:$|[-./])"
    return candidate.format == "gguf" and re.search(quantised, stem) is not None


def _only(candidates: Sequence[Candidate]) -> Candidate | None:
    return candidates[0] if len(candidates) == 1 else None


def _licences(listing: HubListing) -> list[ChosenFile]:
    return [
        ChosenFile(file, file.path, "text")
        for file in listing.files
        if "/" not in file.path and any(fnmatchcase(file.path, each) for each in LICENCES)
    ]


def _check_sizes(reference: HubReference, choice: Choice) -> None:
    if len(choice.files) > MAX_FILES:
        raise PullFailed(f"{reference} has {len(choice.files)} files; at most {MAX_FILES} go.")
    for file in choice.files:
        large = file.kind in ("gguf", "gguf-part", "onnx", "weights")
        bound_bytes = MAX_FILE_BYTES if large else MAX_SMALL_FILE_BYTES
        if file.source.size_bytes > bound_bytes:
            size, bound = readable_size(file.source.size_bytes), readable_size(bound_bytes)
            raise PullFailed(
                f"{reference}: {file.source.path} has {size}; files of its kind may have {bound}."
                " Choose a model that is split into parts, or a smaller quantisation."
            )


def _cannot_choose(
    reference: HubReference, listing: HubListing, choices: Sequence[Candidate], several: bool
) -> PullFailed:
    place = f"{reference.repository} at {listing.commit[:12]}"
    lines = [
        f"\n  :{each.label}  ({readable_size(each.size_bytes)})"
        for each in choices[:MAX_CHOICES_SHOWN]
    ]
    more = len(choices) - len(lines)
    listed = "".join(lines) + (f"\n  ... and {more} more" if more else "")
    if several:
        return SeveralModels(
            f"{reference} is {len(choices)} models; say which by adding one of:{listed}"
        )
    if choices:
        return NotOnHub(f"{place} has no model '{reference.file}'; it has:{listed}")
    kinds = sorted({file.basename.rpartition(".")[2] for file in listing.files})
    return NotOnHub(
        f"{place} has no model that runs here: no .gguf, no OpenVINO IR with its tokenizer, no ONNX"
        f" export. (It has files of the kinds {', '.join(kinds[:12]) or 'none'}.) Look for a"
        " conversion; their names often end in -GGUF."
    )
