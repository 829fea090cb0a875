"""OpenAI's JavaScript client: its tests are in node_openai/."""

import os
import shutil
import subprocess
from pathlib import Path

from servers import RunningServer

FOLDER = Path(__file__).with_name("node_openai")
LIMIT_S = 120


def test_openais_javascript_client(server: RunningServer):
    """Given the running server, when Node runs the client's tests, then all of them pass."""
    node = shutil.which("node")
    assert node, "Node.js is not installed: run scripts/test, which says how to get it"
    assert (FOLDER / "node_modules").is_dir(), "run scripts/test, which installs the clients"
    result = subprocess.run(
        [node, "--test", "--test-reporter=spec", "openai.test.js"],
        cwd=FOLDER,
        env={
            **os.environ,
            "ZAFFRE_TEST_ENDPOINT": server.endpoint,
            "ZAFFRE_TEST_KEY": server.key,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
