"""The JavaScript client @azure-rest/ai-inference: its tests are in node/, one file a subject."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from servers import RunningServer

FOLDER = Path(__file__).with_name("node")
LIMIT_S = 120


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.test.js")), ids=lambda path: path.stem)
def test_the_javascript_client(path: Path, server: RunningServer, picture: Path):
    """Given the running server, when Node runs the tests of one subject, then all of them pass."""
    node = shutil.which("node")
    assert node, "Node.js is not installed: run scripts/test, which says how to get it"
    assert (FOLDER / "node_modules").is_dir(), "run scripts/test, which installs the clients"
    result = subprocess.run(
        [node, "--test", "--test-reporter=spec", path],
        cwd=FOLDER,
        env={
            **os.environ,
            "ZAFFRE_TEST_ENDPOINT": server.endpoint,
            "ZAFFRE_TEST_KEY": server.key,
            "ZAFFRE_TEST_PICTURE": str(picture),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
