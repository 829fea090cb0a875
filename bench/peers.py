"""The peers of bench/peers.toml, each in an environment of its own."""

import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.processes import ROOT

FOLDER = ROOT / "bench" / ".peers"
_LIST = ROOT / "bench" / "peers.toml"
_MADE_FOR = "made-for"


class Peer(Struct, frozen=True):
    """One server to measure against."""

    packages: tuple[str, ...]
    """With exact versions."""
    about: str
    minutes: int
    """What installing it takes, about."""

    @property
    def version(self) -> str:
        """Of its first package."""
        return self.packages[0].rpartition("==")[2]


def listed() -> dict[str, Peer]:
    """All peers by name."""
    return msgspec.convert(tomllib.loads(_LIST.read_text()), dict[str, Peer])


def install(name: str, say: Callable[[str], None]) -> Path:
    """The `bin` folder of the peer's environment, which is made now if it is not there.

    Raises `CalledProcessError` when it cannot be installed.
    """
    peer, folder = listed()[name], FOLDER / name
    wanted = "\n".join([sys.version, *peer.packages])
    mark = folder / _MADE_FOR
    if mark.is_file() and mark.read_text() == wanted:
        return folder / "bin"
    say(f"Installing {name} ({peer.about}), about {peer.minutes} minutes ...")
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", *peer.packages], check=True)
    mark.write_text(wanted)
    return folder / "bin"
