"""The OpenAPI 3.1 document: made of the wire's structs, of what models can do, and of tables."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from zaffre import __version__
from zaffre.routing.deployments import Deployment
from zaffre.server.admin import ADMIN, AdminRoutes, Parameter, Row
from zaffre.server.admin_shapes import NAMED_KINDS, REFERENCE
from zaffre.server.routes import AZURE_MOUNTS
from zaffre.wire import codec
from zaffre.wire.chat import ChatRequest, ChatResponse
from zaffre.wire.completions import CompletionRequest, CompletionResponse
from zaffre.wire.embeddings import EmbeddingRequest, EmbeddingResponse, ImageEmbeddingRequest
from zaffre.wire.errors import AzureErrorBody
from zaffre.wire.models import ModelInfo, ModelList

_OPERATIONS: tuple[tuple[str, str, str, type, type], ...] = (
    ("/chat/completions", "chat", "Continue a conversation", ChatRequest, ChatResponse),
    ("/completions", "complete", "Continue a text", CompletionRequest, CompletionResponse),
    ("/embeddings", "embed", "Embed texts", EmbeddingRequest, EmbeddingResponse),
    (
        "/images/embeddings",
        "embed_images",
        "Embed images",
        ImageEmbeddingRequest,
        EmbeddingResponse,
    ),
)
_READS: tuple[tuple[str, str, type], ...] = (
    ("/info", "What model answers, and what it does", ModelInfo),
    ("/models", "All deployments with their capabilities", ModelList),
)
_STREAMED = ("chat", "complete")
_IN_PATH = re.compile(r"\{(\w+)\}")


def make_document(listed: Sequence[tuple[str, Deployment]]) -> dict[str, Any]:
    """The document for the deployments in `listed`, by name, as plain JSON values."""
    kinds = [k for row in _OPERATIONS for k in row[3:]] + [k for *_, k in _READS] + [AzureErrorBody]
    kinds += [*NAMED_KINDS, *(row.body for row in AdminRoutes.rows if row.body is not None)]
    answers = [row.answer for row in AdminRoutes.rows]
    schemas, components = msgspec.json.schema_components([*kinds, *answers], ref_template=REFERENCE)
    refs = dict(zip(kinds, schemas, strict=False))
    paths: dict[str, Any] = {}
    for path, operation, summary, request, response in _OPERATIONS:
        paths[path] = {
            "post": _post(listed, operation, summary, refs[request], refs[response], refs)
        }
    for path, summary, response in _READS:
        paths[path] = {"get": _get(path, summary, refs[response], refs)}
    for row, answer in zip(AdminRoutes.rows, schemas[len(kinds) :], strict=True):
        methods = paths.setdefault(f"{ADMIN}{row.path}", {})
        methods[row.method.lower()] = _admin(row, answer, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Zaffre: Azure AI Model Inference", "version": __version__},
        "servers": [{"url": mount or "/"} for mount in AZURE_MOUNTS],
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _post(
    listed: Sequence[tuple[str, Deployment]],
    operation: str,
    summary: str,
    request: dict[str, Any],
    response: dict[str, Any],
    refs: dict[type, dict[str, Any]],
) -> dict[str, Any]:
    models = {
        name: codec.plain(d.capabilities)
        for name, d in listed
        if operation in d.operations and d.capabilities is not None
    }
    content: dict[str, Any] = {"application/json": {"schema": response}}
    if operation in _STREAMED:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [_API_VERSION, _EXTRA_PARAMETERS, _DEPLOYMENT],
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": {"description": "The answer", "content": content}} | _errors(refs),
        "x-zaffre-models": models,
    }


def _get(
    path: str, summary: str, response: dict[str, Any], refs: dict[type, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "operationId": path.strip("/"),
        "summary": summary,
        "parameters": [_API_VERSION, _DEPLOYMENT],
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": response}},
            }
        }
        | _errors(refs),
    }


def _admin(row: Row, answer: dict[str, Any], refs: dict[type, dict[str, Any]]) -> dict[str, Any]:
    words = row.path.replace("{", "").replace("}", "").split("/")
    names = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _IN_PATH.findall(row.path)
    ]
    operation: dict[str, Any] = {
        "operationId": "_".join(["admin", row.method.lower(), *words]),
        "summary": row.summary,
        "description": f"Needs the permission `{row.permission}`.",
        "tags": ["admin"],
        "servers": [{"url": "/"}],
        "parameters": [*names, *map(_query_parameter, row.query)],
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": answer}}}
        }
        | _errors(refs),
    }
    if row.body is not None:
        content = {"application/json": {"schema": refs[row.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = msgspec.json.schema(parameter.kind)
    return {"name": parameter.name, "in": "query", "required": False, "schema": schema}


def _errors(refs: dict[type, dict[str, Any]]) -> dict[str, Any]:
    body = {"application/json": {"schema": refs[AzureErrorBody]}}
    return {
        "4XX": {"description": "The request was refused", "content": body},
        "5XX": {"description": "The server or the model failed", "content": body},
    }


_API_VERSION = {
    "name": "api-version",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "examples": ["2024-05-01-preview"]},
}
_EXTRA_PARAMETERS = {
    "name": "extra-parameters",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "enum": ["error", "drop", "pass-through"], "default": "error"},
}
_DEPLOYMENT = {
    "name": "azureml-model-deployment",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
}
