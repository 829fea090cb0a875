"""The table of engines. A row here, a file and an extra are all that a new engine needs."""

from importlib import import_module

from zaffre.core.engine import Engine, EngineSpec
from zaffre.core.errors import EngineFailed

ENGINES: dict[str, str] = {
    "echo": "zaffre.engines.echo:EchoEngine",
    "llama": "zaffre.engines.llama.engine:LlamaEngine",
    "onnx": "zaffre.engines.onnx.engine:OnnxEngine",
    "openvino": "zaffre.engines.openvino.engine:OpenVinoEngine",
}
"""Engine name -> "module:Class"; the class is called with an `EngineSpec`."""


def make_engine(name: str, spec: EngineSpec) -> Engine:
    """Make the engine called `name`. Raises `EngineFailed` when it or its library is missing."""
    if name not in ENGINES:
        raise EngineFailed(f"No engine is called '{name}'; there are: {', '.join(ENGINES)}.")
    module_name, _, class_name = ENGINES[name].partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as missing:
        raise EngineFailed(
            f"Engine '{name}' needs the package '{missing.name}': pip install 'zaffre[{name}]'."
        ) from missing
    engine: Engine = getattr(module, class_name)(spec)
    return engine
