"""A `llama-server` made of the package `xllamacpp`: `python -m zaffre.engines.llama.loop ARG...`.

It takes the part of `llama-server`'s command line that the engine uses, so that either can run.
"""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import xllamacpp

from zaffre.engines.llama.options import KEY_VARIABLE

ERRORS_ONLY = 1
"""llama.cpp's level of talk."""


def main(arguments: list[str]) -> None:
    """Serve until the process is told to end."""
    server = _serve(_parser().parse_args(arguments))
    # Nothing handles SIGTERM: this process holds nothing that a sudden end could spoil.
    while server.listening_address:
        signal.pause()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(allow_abbrev=False)
    for name in ("--model", "--host"):
        parser.add_argument(name, required=True)
    parser.add_argument("--mmproj", default="")
    parser.add_argument("--chat-template-file", type=Path)
    for name in ("--ctx-size", "--parallel", "--threads", "--batch-size", "--cache-ram"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--n-gpu-layers", type=int, default=-1)
    for name in ("--kv-unified", "--jinja", "--no-webui"):
        parser.add_argument(name, action="store_true", required=True)
    return parser


def _serve(chosen: Namespace) -> "xllamacpp.Server":
    params = xllamacpp.CommonParams()
    params.model.path = chosen.model
    params.mmproj.path = chosen.mmproj
    params.hostnames = [chosen.host]
    params.api_keys = [os.environ[KEY_VARIABLE]]
    params.n_ctx = chosen.ctx_size
    params.n_parallel = chosen.parallel
    params.n_batch = chosen.batch_size
    params.cache_ram_mib = chosen.cache_ram
    params.n_gpu_layers = chosen.n_gpu_layers
    params.cpuparams.n_threads = chosen.threads
    params.cpuparams_batch.n_threads = chosen.threads
    params.kv_unified = True
    params.use_jinja = True
    params.ui = False
    params.verbosity = ERRORS_ONLY
    # Fitting the model to an accelerator loads it twice.
    params.fit_params = any(
        device["type"] != xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
        for device in xllamacpp.get_device_info()
    )
    if chosen.chat_template_file is not None:
        params.chat_template = chosen.chat_template_file.read_text()
    try:
        # Holds the interpreter until the model is loaded: one reason for a process of its own.
        return xllamacpp.Server(params)
    except RuntimeError as error:  # llama.cpp has said what it is about
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
