"""Declaring: files and options become documents, and troubles with them get their places back."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from zaffre.cli.admin_client import AdminClient, AdminFailed, Shown
from zaffre.config.declarations import gather
from zaffre.config.documents import Document, InvalidDeclaration, Remark, read_yaml
from zaffre.config.editing import with_absolute_paths, with_value
from zaffre.config.fields import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)
from zaffre.config.gathering import Declarations
from zaffre.config.kinds import DocumentKind, kind_of
from zaffre.config.msgspec_paths import Step
from zaffre.config.settings import ConfigurationError

COMMAND_LINE = "the command line"
FILLED_IN = ("scoring_uri", "provisioning_state", "provisioning_error")
"""What the server shows of a thing and nobody declares."""

_COMMANDS: dict[DocumentKind, str] = {
    ManagedOnlineEndpoint: "online-endpoint",
    ManagedOnlineDeployment: "online-deployment",
    ServerlessEndpoint: "serverless-endpoint",
    ShortForm: "apply",
}
_PLACE = re.compile(r"documents: (?:\[(?P<number>\d+)\])?(?P<path>[^\s:]*): (?P<text>.*)")
_STEP = re.compile(r"\[(?P<index>\d+)\]|(?P<name>[^.\[\]]+)")


class Request(Struct, frozen=True):
    """Documents that are well formed, each for itself."""

    documents: Sequence[Document]
    declared: Declarations

    def send(self, client: AdminClient) -> Shown:
        """Make them true on the server, all or nothing; warnings go to standard error.

        Raises `AdminFailed`, with file, line and column of what is wrong with them.
        """
        # The server has other folders, if it is on this machine at all.
        values = [
            with_absolute_paths(document.value, document.base or Path.cwd())
            for document in self.documents
        ]
        try:
            applied: Shown = client.change("POST", "documents", {"documents": values})
        except AdminFailed as failed:
            raise AdminFailed(self._located(failed.message), refused_as=failed.refused_as) from None
        own = (*self.declared.warnings, *self.declared.start_only)
        heard = [self._located_line(line) for line in applied["warnings"]]
        # The server knows no lines: what it repeats of what was seen here, it says less exactly.
        seen = {(remark.path, remark.text) for remark in own}
        for warning in (*own, *(h for h in heard if (h.path, h.text) not in seen)):
            print(f"warning: {warning}", file=sys.stderr)
        return applied

    def _located(self, message: str) -> str:
        """What the server says of the documents, said of the files that they are from."""
        return "\n".join(str(self._located_line(line)) for line in message.splitlines())

    def _located_line(self, line: str) -> Remark:
        found = _PLACE.fullmatch(line)
        number = int(found["number"] or 0) if found else 0
        if found is None or number >= len(self.documents):
            return Remark("", "", line)
        steps: tuple[Step, ...] = tuple(
            int(step["index"]) if step["name"] is None else step["name"]
            for step in _STEP.finditer(found["path"])
        )
        return self.documents[number].remark(steps, found["text"])


def prepare(documents: Sequence[Document]) -> Request:
    """Documents ready to be sent. Raises `InvalidDeclaration` with the places of all troubles."""
    return Request(documents, gather(documents))


def read_all(paths: Sequence[Path]) -> list[Document]:
    """All documents of all files. Raises `InvalidDeclaration`."""
    return [document for path in paths for document in read_yaml(path)]


def draft(
    kind: DocumentKind,
    file: Path | None,
    fields: Mapping[str, object],
    assignments: Sequence[str],
) -> Document:
    """The one document of `file`, or an empty one, changed by what options say.

    Fields that are None are not said. Raises `ConfigurationError` when it is of another kind.
    """
    document = Document({}, COMMAND_LINE, base=Path.cwd()) if file is None else _only(file)
    return edited(kind, document, fields, assignments)


def redraft(kind: DocumentKind, shown: Shown, assignments: Sequence[str]) -> Document:
    """What the server shows, as a document that declares it, changed by `--set`."""
    value = {name: part for name, part in shown.items() if name not in FILLED_IN}
    return edited(kind, Document(value, COMMAND_LINE, base=Path.cwd()), {}, assignments)


def edited(
    kind: DocumentKind,
    document: Document,
    fields: Mapping[str, object],
    assignments: Sequence[str],
) -> Document:
    """The document with other fields. Raises `ConfigurationError` when it is of another kind."""
    if not isinstance(document.value, dict):
        raise InvalidDeclaration([document.remark((), "must be a mapping of fields.")])
    value = document.value | {name: part for name, part in fields.items() if part is not None}
    for assignment in assignments:
        value = with_value(value, assignment)
    changed = document.with_value(value)
    found = kind_of(changed)
    if found is not kind:
        text = f"this is for another command: zaffre {_COMMANDS[found]} takes it."
        raise InvalidDeclaration([changed.remark((), text)])
    return changed


def _only(file: Path) -> Document:
    documents = read_yaml(file)
    if len(documents) != 1:
        raise ConfigurationError(
            f"{file} has {len(documents)} documents, and this takes one; for several:"
            f" zaffre apply -f {file}"
        )
    return documents[0]
