"""llama.cpp's own HTTP server out of the package `xllamacpp`, set up as well as it can be.

python -m bench.llama_server PORT THREADS CONTEXT_TOKENS SLOTS FILE
"""

import signal
import sys

import xllamacpp

BATCH_TOKENS = 512
"""As fast as 2048 here, with a shorter wait for the first token."""


def main(file: str, port: int, threads: int, context_tokens: int, slots: int) -> None:
    """Serve until the process is ended."""
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context_tokens
    params.n_parallel = slots
    params.n_batch = BATCH_TOKENS
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # One cache for all slots: what idle ones hold slows nobody, see docs/benchmarks.md.
    params.kv_unified = True
    params.use_jinja = True
    params.ui = False
    params.fit_params = False
    params.verbosity = 1
    server = xllamacpp.Server(params)
    while server.listening_address:
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[5], *map(int, sys.argv[1:5]))
