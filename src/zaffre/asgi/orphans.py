"""Orphans: a child process that must not outlive its parent sees to it here."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends.

    Exits when it has ended already. Elsewhere than on Linux only that is looked at.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit("The process that started this one is gone.")


def keep_output() -> int:
    """A descriptor of standard output for reports alone; native libraries print where they like,
    and that goes to standard error from now on."""
    report_fd = os.dup(1)
    os.dup2(2, 1)
    return report_fd
