"""What differs between the dialects of other people's servers: URLs, headers, and fields."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from zaffre import __version__
from zaffre.core.calls import Operation
from zaffre.core.plan import Upstream, UpstreamDialect
from zaffre.upstream.foreign.credential import Credential
from zaffre.upstream.transport import JSON
from zaffre.wire.chat import ChatRequest
from zaffre.wire.completions import CompletionRequest
from zaffre.wire.embeddings import EmbeddingRequest, ImageEmbeddingRequest

PATHS: dict[Operation, str] = {
    "chat": "/chat/completions",
    "complete": "/completions",
    "embed": "/embeddings",
    "embed_images": "/images/embeddings",
}
OPERATIONS_OF: dict[UpstreamDialect, tuple[Operation, ...]] = {
    "openai": ("chat", "complete", "embed"),
    "azure-openai": ("chat", "complete", "embed"),
    "azure-inference": ("chat", "complete", "embed", "embed_images"),
}
API_VERSIONS: dict[UpstreamDialect, str] = {
    # From this one on reasoning comes apart from the content (contract, section 1).
    "azure-inference": "2025-04-01",
    "azure-openai": "2024-10-21",
}
"""Where the declaration has none."""
STANDARD_FIELDS = frozenset(
    [
        "messages",
        "prompt",
        "model",
        "frequency_penalty",
        "presence_penalty",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "stream",
        "seed",
        "response_format",
        "tools",
        "tool_choice",
        "modalities",
    ]
)
"""What azure-inference knows; everything else needs `extra-parameters` (contract, 4.1, 6.1)."""
_DEPLOYMENTS = "/openai/deployments/"


class Address:
    """Where the requests to one upstream go."""

    def __init__(self, upstream: Upstream, model: str) -> None:
        parts = urlsplit(upstream.url)
        self._origin = (parts.scheme, parts.netloc)
        self._base = parts.path.rstrip("/")
        self._query = parse_qsl(parts.query, keep_blank_values=True)
        self._deployment = ""
        if upstream.dialect == "azure-openai" and _DEPLOYMENTS not in f"{self._base}/":
            self._deployment = f"{_DEPLOYMENTS}{quote(model, safe='')}"
        version = upstream.api_version or API_VERSIONS.get(upstream.dialect)
        stated = any(name.lower() == "api-version" for name, _ in self._query)
        if version is not None and (upstream.api_version is not None or not stated):
            self._query = [q for q in self._query if q[0].lower() != "api-version"]
            self._query.append(("api-version", version))
        self._urls = {name: self._url(self._deployment + path) for name, path in PATHS.items()}

    @property
    def place(self) -> str:
        """The base URL without its query, which may hold what is not for everybody's eyes."""
        return urlunsplit((*self._origin, self._base, "", ""))

    def of(self, operation: Operation) -> str:
        """The URL of `operation`."""
        return self._urls[operation]

    def beside(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """The URL of something that is not about one deployment."""
        return self._url(path, query)

    def _url(self, path: str, query: Mapping[str, str] | None = None) -> str:
        text = urlencode([*self._query, *(query or {}).items()])
        return urlunsplit((*self._origin, self._base + path, text, ""))


def base_headers(dialect: UpstreamDialect, credential: Credential | None) -> dict[str, str]:
    """The headers that all requests share."""
    headers = {
        "Content-Type": JSON,
        "User-Agent": f"zaffre/{__version__}",
        # Nothing compressed: its size is known only after it has been unpacked.
        "Accept-Encoding": "identity",
    }
    if credential is None:
        return headers
    secret = credential.reveal()
    match dialect:
        case "openai":
            headers["Authorization"] = f"Bearer {secret}"
        case "azure-openai":
            headers["api-key"] = secret  # as a bearer token it would have to be one of Entra's
        case "azure-inference":  # both, as Azure's own clients do (contract, section 3.2)
            headers["api-key"] = secret
            headers["Authorization"] = f"Bearer {secret}"
    return headers


def request_headers(
    dialect: UpstreamDialect,
    request: ChatRequest | CompletionRequest | EmbeddingRequest | ImageEmbeddingRequest,
) -> dict[str, str]:
    """The headers that depend on what is asked."""
    if isinstance(request, EmbeddingRequest | ImageEmbeddingRequest):
        return {"Accept": JSON}
    headers = {"Accept": "text/event-stream, application/json" if request.stream else JSON}
    if dialect == "azure-inference" and _extras(request):
        headers["extra-parameters"] = "pass-through"
    return headers


def _extras(request: ChatRequest | CompletionRequest) -> list[str]:
    return [
        name
        for name in request.__struct_fields__
        if name not in STANDARD_FIELDS and getattr(request, name) is not None
    ]
