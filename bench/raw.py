"""A raw engine in a process of its own, loaded once: orders in, outcomes out, JSON by the line."""

import subprocess
import sys
from typing import Generic, TypeVar

import msgspec

from bench.processes import ROOT

Outcome = TypeVar("Outcome")


class RawProcess(Generic[Outcome]):
    """`python -m MODULE ARGUMENTS`, which says `ready` before its first order."""

    def __init__(self, module: str, *arguments: str, outcome: type[Outcome]) -> None:
        self._outcome = outcome
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._line()

    def run(self, order: msgspec.Struct) -> Outcome:
        """Do what is ordered."""
        if self._process.stdin is None:
            raise RuntimeError("The raw engine has no pipe.")
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._line(), type=self._outcome)

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _line(self) -> bytes:
        line = b"" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise RuntimeError("The raw engine ended.")
        return line
