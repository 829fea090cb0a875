"""Loading: what each kind of process may load, seen in a fresh interpreter."""

import subprocess
import sys

ENGINE_LIBRARIES = {
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "openvino_genai",
    "tokenizers",
    "xllamacpp",
}
BASE_INSTALL = {"msgspec", "zaffre"}

PRINT_LOADED = """
import sys
import {modules}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
REFUSE_ALL_BUT = """
import sys
class Refusal:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {allowed!r}:
            raise ModuleNotFoundError(name + " is not installed", name=name)
sys.meta_path.insert(0, Refusal())
import {modules}
"""


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_gateway_loads_no_engine_library():
    """Given the gateway's two roots, when they are imported, then no library of an engine is."""
    loaded = _run(PRINT_LOADED.format(modules="zaffre.boot, zaffre.server.app"))
    assert not ENGINE_LIBRARIES & set(loaded.split())


def test_the_command_line_loads_no_engine_library():
    """Given `zaffre`, when its commands are imported, then no library of an engine is."""
    loaded = _run(PRINT_LOADED.format(modules="zaffre.cli.main"))
    assert not ENGINE_LIBRARIES & set(loaded.split())


def test_the_wire_needs_the_base_install_only():
    """Given only what plain `zaffre` installs, when the wire is imported, then it loads."""
    modules = "zaffre.wire.codec, zaffre.wire.chat, zaffre.wire.sse"
    _run(REFUSE_ALL_BUT.format(allowed=BASE_INSTALL, modules=modules))
