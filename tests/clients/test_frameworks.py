"""The frameworks over the vendors' clients: each group in an environment of its own.

They take long and install much, so only `scripts/test clients` runs them:
`scripts/test clients -k litellm` for one group.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from framework_environments import FRAMEWORKS, LOCKS, groups, python_of
from openai_checks import ALL

from servers import RunningServer

NODE_FRAMEWORKS = Path(__file__).with_name("node_frameworks")
LIMIT_S = 900
TALLY = re.compile(r"^(?:\d+ (?:passed|failed).*|# (?:pass|fail) \d+)$", re.MULTILINE)
FOREIGN = ("ANTHROPIC_", "AZURE_", "DSPY_", "LANGCHAIN_", "LANGSMITH_", "LITELLM_", "OPENAI_")
"""Beginnings of variables that would point a framework elsewhere."""
pytestmark = pytest.mark.skipif(not ALL, reason="takes long: scripts/test clients runs it")


@pytest.mark.parametrize("group", groups())
def test_a_group_of_frameworks(
    group: str, server: RunningServer, capsys: pytest.CaptureFixture[str]
):
    """Given the running server, when a group's tests run in its environment, then all pass."""
    python = python_of(group, LOCKS / f"{group}.txt")
    files = sorted(FRAMEWORKS.glob(f"test_{group}*.py"))
    assert files, f"{group} has a lock and no tests"
    command = [python, "-m", "pytest", "-c", FRAMEWORKS / "pytest.ini", *files]
    _check_run(group, command, FRAMEWORKS, server, capsys)


@pytest.mark.parametrize("subject", ["ai_sdk", "langchain"])
def test_a_javascript_framework(
    subject: str, server: RunningServer, capsys: pytest.CaptureFixture[str]
):
    """Given the running server, when Node runs a framework's tests, then all pass."""
    node = shutil.which("node")
    assert node, "Node.js is not installed: run scripts/test, which says how to get it"
    assert (NODE_FRAMEWORKS / "node_modules").is_dir(), "run scripts/test, which installs them"
    command = [node, "--test", "--test-reporter=tap", f"{subject}.test.js"]
    _check_run(f"node {subject}", command, NODE_FRAMEWORKS, server, capsys)


def _check_run(
    name: str,
    command: list[str | Path],
    folder: Path,
    server: RunningServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inherited = {key: val for key, val in os.environ.items() if not key.startswith(FOREIGN)}
    done = subprocess.run(
        command,
        cwd=folder,
        env={
            **inherited,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or LiteLLM fetches a list of prices
            "ZAFFRE_TEST_ENDPOINT": server.endpoint,
            "ZAFFRE_TEST_KEY": server.key,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {', '.join(TALLY.findall(done.stdout))}\n")
    assert done.returncode == 0, done.stdout[-20_000:]
