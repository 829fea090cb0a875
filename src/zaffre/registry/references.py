"""How a model on a hub is named: `hf:OWNER/REPOSITORY[@REVISION][:FILE]`."""

import hashlib
import re

from msgspec import Struct

from zaffre.registry.errors import InvalidReference

PREFIX = "hf:"
DEFAULT_REVISION = "main"
MAX_REFERENCE_CHARS = 400
MAX_REPOSITORY_SLUG = 56
MAX_FILE_SLUG = 26
DIGEST_CHARS = 10

_REPOSITORY = r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?"
_REVISION = r"[A-Za-z0-9][\w./-]{0,99}"
_REFERENCE = re.compile(rf"hf:({_REPOSITORY})(?:@({_REVISION}))?(?::(.+))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class HubReference(Struct, frozen=True):
    """A model in a repository of a hub."""

    repository: str
    """`OWNER/NAME`, as the hub spells it."""
    revision: str = DEFAULT_REVISION
    """A branch, a tag, or a commit."""
    file: str = ""
    """Which of several: a path, a pattern with `*`, a quantisation (`Q4_K_M`), or a variant of an
    ONNX export (`quantized`). Empty where the repository has one only."""

    def __str__(self) -> str:
        """The reference as one would write it."""
        revision = "" if self.revision == DEFAULT_REVISION else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{revision}{':' if self.file else ''}{self.file}"

    @property
    def owner(self) -> str:
        """Who keeps the repository, or "" where it has no owner."""
        return self.repository.rpartition("/")[0]

    @property
    def store_name(self) -> str:
        """The model's name in the store: readable, always the same, different for each reference.

        The digest at its end tells apart what the readable part does not: upper and lower case,
        revisions, and what was cut off.
        """
        whole = f"{self.repository}@{self.revision}:{self.file}"
        digest = hashlib.sha256(whole.encode()).hexdigest()[:DIGEST_CHARS]
        parts = (_slug(self.repository, MAX_REPOSITORY_SLUG), _slug(self.file, MAX_FILE_SLUG))
        return "-".join((*filter(None, parts), digest))


def is_hub_reference(text: str) -> bool:
    """Whether `text` means a model on a hub, rightly written or not."""
    return text.startswith(PREFIX)


def parse_reference(text: str) -> HubReference:
    """The reference in `text`. Raises `InvalidReference`."""
    found = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE_CHARS else None
    if found is None or _climbs(text) or _CONTROL.search(text):
        raise InvalidReference(
            f"{text[:200]!r} names no model on a hub. Write hf:OWNER/REPOSITORY, and behind it"
            " @REVISION (a branch, tag or commit) and :FILE (a file or a quantisation such as"
            " Q4_K_M) where they are needed."
        )
    repository, revision, file = found.groups()
    return HubReference(repository, revision or DEFAULT_REVISION, file or "")


def _climbs(text: str) -> bool:
    return ".." in re.split(r"[/:@\\]", text) or "\\" in text or ":/" in text


def _slug(text: str, length: int) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower())
    return re.sub(r"\.{2,}", ".", plain).strip("._-")[:length].strip("._-")
