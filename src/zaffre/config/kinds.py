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
_SHORT_FIELDS = frozenset({"settings", "endpoints", "deployments", "defaults"})


def kind_of(document: Document) -> DocumentKind:
    """What to read a document as. Raises `InvalidDeclaration` when it is none of ours."""
    fields = document.value
    if not isinstance(fields, dict):
        return ShortForm  # which says what it wants instead
    schema = fields.get("$schema")
    if isinstance(schema, str):
        found = _SCHEMA_NAME.search(schema)
        name = found["name"].lower() if found else ""
        if name and name != _OWN_SCHEMA:
            return _named(document, "$schema", name)
    for field in ("type", "kind"):
        word = fields.get(field)
        if isinstance(word, str) and not _SHORT_FIELDS & fields.keys():
            name = word.lower().replace("_", "").replace("-", "")
            if name not in _PLAIN_TYPES:
                return _named(document, field, name)
    return _kind_by_fields(fields)


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
