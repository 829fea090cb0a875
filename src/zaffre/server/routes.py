"""The routes, top to bottom: which path speaks which dialect, and what answers there.

`/v1` belongs to two dialects. A request there speaks the Azure AI Model Inference dialect when it
says so: with an `api-version`, one of that API's own headers, or the user agent of an Azure SDK.
Otherwise it speaks OpenAI v1, with one thing added: a request without `model` gets the default.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import structs

from zaffre.asgi.exchange import Send
from zaffre.core.errors import MethodNotAllowed, NotFound
from zaffre.server.dialects.azure_errors import AzureErrorStyle
from zaffre.server.dialects.azure_inference import AzureInference
from zaffre.server.dialects.common import ErrorStyle
from zaffre.server.dialects.openai import OpenAI
from zaffre.server.dialects.openai_errors import OpenAIErrorStyle, ResponsesErrorStyle
from zaffre.server.dialects.openai_responses import Responses
from zaffre.server.request import Request
from zaffre.service.gateway import Gateway

Handler = Callable[[Request, bytes, Send], Coroutine[Any, Any, None]]
Methods = dict[str, Handler]

AZURE_MOUNTS = ("", "/v1", "/models", "/api/models", "/inference")
"""Base paths of the Azure AI Model Inference dialect (contract, section 9)."""
MODELS = ("/openai/v1/models/", "/openai/models/", "/v1/models/")
"""Followed by the name of one."""
DEPLOYMENTS = "/openai/deployments/"
_AZURE_HEADERS = (
    b"extra-parameters",
    b"azureml-model-deployment",
    b"x-ms-model-mesh-model-name",
)
_AZURE_AGENTS = ("azsdk-", "azure-ai-inference")


class Routes:
    """Finds what answers a request, and in which style errors on its path look."""

    def __init__(self, gateway: Gateway, *, strict_versions: bool = False) -> None:
        azure = AzureInference(gateway, strict_versions=strict_versions)
        v1 = OpenAI(gateway, azure=False)
        shared = OpenAI(gateway, azure=False, default_model=True)
        self._azure_style: ErrorStyle = AzureErrorStyle()
        self._openai_styles: dict[bool, ErrorStyle] = {
            azure: OpenAIErrorStyle(azure=azure) for azure in (False, True)
        }
        self._responses_styles: dict[bool, ErrorStyle] = {
            azure: ResponsesErrorStyle(azure=azure) for azure in (False, True)
        }
        self._azure: dict[str, Methods] = {}
        for mount in AZURE_MOUNTS:
            self._azure |= _azure_routes(mount, azure)
        self._openai: dict[str, Methods] = {
            **_openai_routes("/openai/v1", v1, Responses(gateway, v1)),
            **_openai_routes("/v1", shared, Responses(gateway, shared)),
            # What AzureOpenAI clients ask for outside deployments; there the body names the model.
            "/openai/deployments": {"GET": v1.models},
            "/openai/models": {"GET": v1.models},
            "/openai/models/*": {"GET": v1.model},
            "/openai/responses": {"POST": Responses(gateway, v1).respond},
        }
        deployments = OpenAI(gateway, azure=True)
        self._deployments: dict[str, Methods] = {
            "chat/completions": {"POST": deployments.chat},
            "completions": {"POST": deployments.complete},
            "embeddings": {"POST": deployments.embed},
            "responses": {"POST": Responses(gateway, deployments).respond},
        }

    def style(self, request: Request) -> ErrorStyle:
        """How errors look on the request's path, known or not."""
        path = request.path
        own = path.startswith("/openai/")
        if not own and (not path.startswith("/v1/") or self._speaks_azure(request)):
            return self._azure_style
        styles = self._responses_styles if path.endswith("/responses") else self._openai_styles
        return styles[own and not path.startswith("/openai/v1/")]

    def find(self, request: Request) -> tuple[Handler, Request]:
        """What answers, and the request with what its path names.

        Raises `NotFound` with the right base path, or `MethodNotAllowed`.
        """
        methods, name = self._methods(request)
        if methods is None:
            raise NotFound(self._not_found_text(request.path))
        handler = methods.get(request.method)
        if handler is None:
            raise MethodNotAllowed(request.method, sorted(methods))
        return handler, request if name is None else structs.replace(request, path_name=name)

    def paths(self) -> list[str]:
        """All fixed paths."""
        return [*self._azure, *self._openai]

    def _methods(self, request: Request) -> tuple[Methods | None, str | None]:
        path = request.path
        if path.startswith(DEPLOYMENTS):
            name, _, operation = path.removeprefix(DEPLOYMENTS).partition("/")
            return self._deployments.get(operation), name
        if path in self._openai and not self._speaks_azure(request):
            return self._openai[path], None
        for prefix in MODELS:
            if path.startswith(prefix) and path not in self._azure:
                return self._openai[f"{prefix}*"], path.removeprefix(prefix)
        return self._azure.get(path), None

    def _speaks_azure(self, request: Request) -> bool:
        """The rule for paths that both dialects have; see the top of this module."""
        if request.path not in self._azure:
            return False
        if request.path not in self._openai:
            return True
        agent = (request.header(b"user-agent") or "").lower()
        return (
            "api-version" in request.query
            or any(name in request.headers for name in _AZURE_HEADERS)
            or any(name in agent for name in _AZURE_AGENTS)
        )

    def _not_found_text(self, path: str) -> str:
        operations = ("/chat/completions", "/images/embeddings", "/embeddings", "/completions")
        right = next((o for o in (*operations, "/info", "/models") if path.endswith(o)), None)
        if path.startswith(DEPLOYMENTS) or right is None:
            return (
                f"Path {path} was not found. Base paths here: / (Azure AI Model Inference),"
                " /openai/deployments/NAME (Azure OpenAI), /openai/v1 (OpenAI)."
            )
        return f"Path {path} was not found; use {right}, or /openai/v1{right} as an OpenAI client."


def _azure_routes(mount: str, azure: AzureInference) -> dict[str, Methods]:
    routes: dict[str, Methods] = {
        f"{mount}/chat/completions": {"POST": azure.chat},
        f"{mount}/completions": {"POST": azure.complete},
        f"{mount}/embeddings": {"POST": azure.embed},
        f"{mount}/images/embeddings": {"POST": azure.embed_images},
        f"{mount}/info": {"GET": azure.info},
        f"{mount}/models": {"GET": azure.models},
    }
    if mount.endswith("/models"):
        routes[mount] = {"GET": azure.models}
    return routes


def _openai_routes(mount: str, openai: OpenAI, responses: Responses) -> dict[str, Methods]:
    return {
        f"{mount}/chat/completions": {"POST": openai.chat},
        f"{mount}/completions": {"POST": openai.complete},
        f"{mount}/embeddings": {"POST": openai.embed},
        f"{mount}/responses": {"POST": responses.respond},
        f"{mount}/models": {"GET": openai.models},
        f"{mount}/models/*": {"GET": openai.model},
    }
