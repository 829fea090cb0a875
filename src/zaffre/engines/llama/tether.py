"""Ties a program to its parent: `python -m zaffre.engines.llama.tether PARENT PROGRAM ARG...`.

The process becomes PROGRAM, and is killed when the process numbered PARENT ends, however that ends.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, program: str, *arguments: str) -> None:
    """Become `program`."""
    if sys.platform == "linux":
        # Survives exec. What counts is the thread that started this process: the engine's loop.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before the line above
        sys.exit("The worker is gone.")
    os.execv(program, [program, *arguments])  # noqa: S606 - chosen by the operator


if __name__ == "__main__":
    main(*sys.argv[1:])
