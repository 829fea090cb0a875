"""The environments of clients' tests: one for each lock, made when it is first asked for.

They are apart from each other because the frameworks pin the same packages in different versions,
and from Zaffre's because a client has no business with what the server needs.
"""

import subprocess
import sys
from pathlib import Path

FRAMEWORKS = Path(__file__).with_name("frameworks")
LOCKS = FRAMEWORKS / "locks"
ENVIRONMENTS = Path(__file__).parents[2] / ".venv-clients"
INSTALL_LIMIT_S = 900


def groups() -> list[str]:
    """The names of all groups of frameworks."""
    return sorted(path.stem for path in LOCKS.glob("*.txt"))


def python_of(name: str, lock: Path) -> Path:
    """The Python of the environment `name`, which holds what `lock` pins.

    The stamp is what the environment was made from; while it matches, nothing is installed.
    """
    environment = ENVIRONMENTS / name
    python, stamp = environment / "bin" / "python", environment / "made-for"
    made_for = f"{environment}\n{sys.version}\n{lock.read_text()}"
    if stamp.is_file() and stamp.read_text() == made_for:
        return python
    run_quietly(sys.executable, "-m", "venv", "--clear", str(environment))
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    run_quietly(str(python), "-m", "pip", "install", *options, "--requirement", str(lock))
    stamp.write_text(made_for)
    return python


def run_quietly(*command: str) -> None:
    """Run `command`, which must succeed; what it says is shown when it does not."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
