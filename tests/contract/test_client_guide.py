"""The guide to the Python client: its programs run as printed, and its table is complete."""

import os
import re
import subprocess
import sys
from pathlib import Path

from servers import RunningServer
from zaffre.client import errors

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "python-client.md").read_text()
LIMIT_S = 60


def test_its_programs_run_as_printed(echo_server: RunningServer, tmp_path: Path):
    """Given a server, when the guide's programs run as one, then each says what it should."""
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    program = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
    told = {"ZAFFRE_ENDPOINT": echo_server.endpoint, "ZAFFRE_KEY": echo_server.key}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    usage, *rest = done.stdout.splitlines()[1:]
    assert "total_tokens=6" in usage
    assert rest == [
        "And a selkie?",
        "2",
        "Tell me a story.",
        "2 8 4",
        "2",
        "['stop', 'stop']",
        "Three?",
        "parameter_not_supported ('body', 'temperature')",
        "Hello.",
    ]


def test_its_table_has_every_error():
    """Given the classes of errors, when the guide is read, then each has its row, and no other."""
    rows = re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE)
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert sorted(rows) == sorted(kinds - {"ClientError"})
