"""Kinds of documents: which one a mapping is, by its $schema, its type, or its fields."""

import re

from zaffre.config.documents import Document, InvalidDeclaration
from zaffre.config.fields import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)

DocumentKind = (
    type[ManagedOnlineEndpoint]
    | type[ManagedOnlineDeployment]
    | type[ServerlessEndpoint]
    | type[ShortForm]
)

_KINDS: dict[str, DocumentKind] = {
    "managedonlineendpoint": ManagedOnlineEndpoint,
    "managedonlinedeployment": ManagedOnlineDeployment,
    "serverlessendpoint": ServerlessEndpoint,
}
_KUBERNETES = ("kubernetes", "kubernetesonlineendpoint", "kubernetesonlinedeployment")
_PLAIN_TYPES = ("managed", "online")
"""What Azure writes into `type` of documents whose kind the rest tells."""
_SCHEMA_NAME = re.compile(r"(?:^|/)(?P<name>[A-Za-z]+)\.schema\.json(?:[?#].*)?$")
_OWN_SCHEMA = "zaffre"
_SHORT_FIELDS = frozenset(ShortForm.__struct_encode_fields__) - {"$schema"}


def kind_of(document: Document) -> DocumentKind:
    """What to read a document as. Raises `InvalidDeclaration` when it is none of ours."""
    fields = document.value
    if not isinstance(fields, dict):
        return ShortForm  # which says what it wants instead
    said = [(field, _word(fields.get(field))) for field in ("type", "kind")]
    if _SHORT_FIELDS & fields.keys():
        said = []  # such fields say nothing about the short form, which will refuse them
    for field, word in said:
        if word in _KUBERNETES:
            return _named(document, field, word)
    found = _SCHEMA_NAME.search(str(fields.get("$schema")))
    if found is not None and found["name"].lower() != _OWN_SCHEMA:
        return _named(document, "$schema", found["name"].lower())
    for field, word in said:
        if word and word not in _PLAIN_TYPES:
            return _named(document, field, word)
    return _kind_by_fields(fields)


def _word(written: object) -> str:
    """A kind's name in any of Azure's spellings; empty for what is no text."""
    return written.lower().replace("_", "").replace("-", "") if isinstance(written, str) else ""


def _named(document: Document, field: str, name: str) -> DocumentKind:
    if name in _KINDS:
        return _KINDS[name]
    text = "means nothing here; use managedOnlineEndpoint, managedOnlineDeployment, or"
    text += " serverlessEndpoint."
    if name in _KUBERNETES:
        text = "Zaffre runs no Kubernetes; use the managed kind of this document."
    raise InvalidDeclaration([document.remark((field,), text)])


def _kind_by_fields(fields: dict[object, object]) -> DocumentKind:
    if _SHORT_FIELDS & fields.keys():
        return ShortForm
    if "model_id" in fields:
        return ServerlessEndpoint
    if {"endpoint_name", "model"} & fields.keys():
        return ManagedOnlineDeployment
    if "name" in fields:
        return ManagedOnlineEndpoint
    return ShortForm
