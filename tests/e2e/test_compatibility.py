"""The reference says of the engines what the engines say of themselves."""

import subprocess
import sys
from pathlib import Path

from servers import running_server

SCRIPT = Path(__file__).parents[2] / "scripts" / "compatibility.py"
CONFIGURATION = """\
deployments:
  - {name: on-openvino, model: smollm2-135m-instruct, engine: openvino}
  - {name: on-llama, model: smollm2-135m-instruct, engine: llama}
"""


def test_the_page_is_current(zaffre_home: Path, tmp_path: Path):
    """Given a deployment on each engine that writes text, when the page is held against what they
    can do, then it says just that."""
    file = tmp_path / "zaffre.yaml"
    file.write_text(CONFIGURATION)
    with running_server(zaffre_home, tmp_path / "log", "-f", str(file)) as server:
        done = subprocess.run(
            [sys.executable, SCRIPT, server.endpoint, server.key, "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
