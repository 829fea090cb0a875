"""The `llama` engine: any GGUF, on llama.cpp."""

from zaffre.core.calls import ChatCall, CompletionCall
from zaffre.core.capabilities import Capabilities
from zaffre.core.deltas import Deltas
from zaffre.core.engine import EngineSpec, Health
from zaffre.core.errors import EngineFailed
from zaffre.engines.llama.model import LlamaModel
from zaffre.engines.llama.options import read_settings
from zaffre.engines.llama.server import LlamaServer


class LlamaEngine:
    """Runs a GGUF file on llama.cpp's server. For its options see `llama_options.OPTIONS`."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._server: LlamaServer | None = None
        self._model: LlamaModel | None = None

    async def start(self) -> Capabilities:
        """Check the file and the options, and load the model."""
        settings = read_settings(self._spec)
        self._server = LlamaServer(settings)
        self._model = await LlamaModel.load(self._server, settings, self._spec.card)
        return self._model.capabilities

    def health(self) -> Health:
        """How many calls are being answered, and how many wait for room."""
        return Health() if self._model is None else self._model.health()

    async def aclose(self) -> None:
        """End what is being generated, then llama.cpp."""
        self._model = None
        if self._server is not None:
            await self._server.aclose()

    def chat(self, call: ChatCall) -> Deltas:
        """Answer `call`."""
        return self._loaded().chat(call)

    def complete(self, call: CompletionCall) -> Deltas:
        """Continue the prompts of `call`."""
        return self._loaded().complete(call)

    async def busy_slots(self) -> int:
        """How many slots llama.cpp itself says it is working in: what cancelling is proven by."""
        return await self._loaded().busy_slots()

    def _loaded(self) -> LlamaModel:
        if self._model is None:
            raise EngineFailed("The engine is not started, or is closed.")
        return self._model
