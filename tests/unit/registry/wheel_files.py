"""Wheels and catalogue entries for the tests of `registry`: made here, small, and real to pip."""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from zaffre.core.cards import ModelCard
from zaffre.registry.catalogue import CatalogueFile, CatalogueModel, CataloguePackage
from zaffre.registry.wheels import Advance

WEIGHTS = bytes(range(256)) * 500
TOKENIZER = b'{"model": "tiny"}'
FILES = {"tiny_weights/model.onnx": WEIGHTS, "tiny_weights/tokenizer.json": TOKENIZER}


def make_wheel(
    folder: Path, files: Mapping[str, bytes] = FILES, name: str = "tiny_weights"
) -> Path:
    """A wheel with `files` that pip accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            archive.writestr(file, content)
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def make_model(name: str = "tiny", files: Mapping[str, bytes] = FILES) -> CatalogueModel:
    """A catalogue entry for a model whose files are `files` of the wheel."""
    entries = tuple(
        CatalogueFile(path, Path(path).name, hashlib.sha256(content).hexdigest(), len(content))
        for path, content in files.items()
    )
    card = ModelCard(name=name, format="onnx", operations=("embed",))
    return CatalogueModel(card, (CataloguePackage("tiny-weights==1.0", 10_000, entries),))


class FolderSource:
    """Wheels out of a folder, without pip; keeps a list of what was asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fetched: list[str] = []

    def fetch(self, package: CataloguePackage, into: Path, advance: Advance) -> Path:
        """Copy the package's wheel."""
        self.fetched.append(package.requirement)
        into.mkdir(parents=True)
        wheel = next(self._folder.glob("*.whl"))
        advance(package.size_bytes)
        return Path(shutil.copy(wheel, into))
