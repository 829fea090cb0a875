"""Real photographs for tests, all dedicated to the public (CC0), out of scikit-image's wheel."""

import os
from pathlib import Path

from zaffre.registry.catalogue import CatalogueFile, CataloguePackage
from zaffre.registry.wheels import PipSource, take_files

PHOTOS = CataloguePackage(
    "scikit-image==0.26.0",
    13_711_217,
    tuple(
        CatalogueFile(f"skimage/data/{name}", name, sha256, size_bytes)
        for name, sha256, size_bytes in (
            (
                "camera.png",
                "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
                139_512,
            ),
            (
                "chelsea.png",
                "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
                240_512,
            ),
            (
                "coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
                466_706,
            ),
            (
                "rocket.jpg",
                "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
                112_525,
            ),
        )
    ),
)
CAPTIONS = {
    "camera.png": "a camera on a tripod",
    "chelsea.png": "a tabby cat",
    "coffee.png": "a cup of espresso",
    "rocket.jpg": "the launch of a rocket",
}


def fetch_photos(into: Path) -> dict[str, bytes]:
    """The photographs by name, downloaded into `into` unless they are there."""
    names = [file.name for file in PHOTOS.files]
    if not all((into / name).is_file() for name in names):
        wheel = PipSource(os.environ).fetch(PHOTOS, into / "package", lambda _: None)
        for file in PHOTOS.files:
            (into / file.name).unlink(missing_ok=True)
        take_files(wheel, PHOTOS.files, into)
        wheel.unlink()
    return {name: (into / name).read_bytes() for name in names}
