"""The migration guide: both of its programs run as printed, on one server, and say the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

from servers import RunningServer

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "migrate.md"
LIMIT_S = 120


def _run(program: str, server: RunningServer) -> list[str]:
    told = {**os.environ, "ZAFFRE_ENDPOINT": server.endpoint, "ZAFFRE_KEY": server.key}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=told,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_both_programs_say_the_same(server: RunningServer):
    """Given the guide's two programs, when both run against one server, then the greedy answer is
    the same, both stream, and both vectors have the model's length."""
    programs = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(programs) == 2

    before, after = (_run(program, server) for program in programs)

    assert before[0] == after[0] != ""
    assert len(before) >= 3
    assert len(after) >= 3
    assert before[-1] == after[-1] == "384"
