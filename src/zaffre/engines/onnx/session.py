"""Opening ONNX files: safely, and with the thread and memory settings of a server."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
import onnxruntime
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import TensorProto

from zaffre.core.errors import EngineFailed


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Load the network in `path`, to run on `threads` processor threads.

    Raises `EngineFailed` when it is no network, refers to files outside its folder, or needs
    operators that onnxruntime does not have; no code that comes with a model is ever loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Waiting threads sleep: spinning takes a core from the other workers on this machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Batches have ever new shapes; a plan for each would be kept for ever.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        _check_external_files(path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except EngineFailed:
        raise
    # The fence: protobuf and onnxruntime each have a family of exceptions without a common base.
    except Exception as trouble:
        raise EngineFailed(f"{path.name} cannot be loaded: {trouble}") from trouble


def run_options() -> onnxruntime.RunOptions:
    """Options of each run: memory that one large batch took is given back after it."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _check_external_files(path: Path) -> None:
    # onnxruntime opens whatever file a tensor names, and takes one special name for an address in
    # its own memory. Only files that lie beside the network are data of this model.
    model = onnx.load_model(str(path), load_external_data=False)
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        inside = PurePosixPath(location)
        if inside.is_absolute() or ".." in inside.parts or not (path.parent / inside).is_file():
            raise EngineFailed(
                f"{path.name} is refused: its tensor '{tensor.name}' is in {location!r}, which is"
                " not a file in the model's folder."
            )


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor anywhere in `message`: weights, constants, branches, functions.

    protobuf has bounded the depth when it read the file.
    """
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if isinstance(value, Message) else value:
            if isinstance(part, TensorProto):
                yield part
            else:
                yield from _tensors(part)
