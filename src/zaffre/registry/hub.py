"""A hub as `pull` sees it: repositories of files, each with a size and a digest, read in pieces."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct

from zaffre.registry.references import HubReference


class HubFile(Struct, frozen=True):
    """A file of a repository, as the hub announces it."""

    path: str
    """Inside the repository, with forward slashes."""
    size_bytes: int
    sha256: str = ""
    """Known for large files (Git LFS); "" for others."""
    git_oid: str = ""
    """Git's SHA-1 of a file that is not in LFS; "" for others."""

    @property
    def basename(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """All but the last part of its path."""
        return self.path.rpartition("/")[0]

    @property
    def content_key(self) -> str:
        """A file name for its content: the same for the same bytes, wherever the digest is known.

        So what was begun of it goes on after a cut, even when the branch has moved meanwhile.
        """
        if self.sha256 or self.git_oid:
            return f"{self.sha256 or self.git_oid}-{self.size_bytes}"
        named = f"{self.path} {self.size_bytes}".encode()
        return f"path-{hashlib.sha256(named).hexdigest()}"


class HubListing(Struct, frozen=True, kw_only=True):
    """A repository at one commit."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]
    license: str = "unknown"
    endpoint: str = ""
    """The hub's address."""


class Reading(Struct, frozen=True):
    """A file being read."""

    start_bytes: int
    """Where it begins: where it was asked to, or at 0 when the server knows no ranges."""
    chunks: Iterator[bytes]
    """Raises `Interrupted` when the connection breaks."""


class Interrupted(Exception):
    """It may work the next time. The message is the cause, as part of a sentence."""

    def __init__(self, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after_s = retry_after_s


class HubSource(Protocol):
    """A hub. Raises `Interrupted` for what may pass, and else `PullFailed` with the way out."""

    def listing(self, reference: HubReference) -> HubListing:
        """The repository at the commit that the revision is at now."""

    def read(
        self, listing: HubListing, file: HubFile, start_bytes: int
    ) -> AbstractContextManager[Reading]:
        """Read `file` from `start_bytes` on."""


Connect = Callable[[], AbstractContextManager[HubSource]]
"""Opens a hub. Called only when it has to be asked."""
