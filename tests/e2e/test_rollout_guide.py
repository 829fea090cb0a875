"""The rollout guide: every command on the page runs as printed, and prints what the page says.

The model of the page's name is the test double here: the page is about what goes on around it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from servers import ZAFFRE, RunningServer, running_server

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "rollout.md"
NAME = "smollm2-135m-instruct"
CARD = {
    "name": NAME,
    "format": "echo",
    "operations": ["chat", "complete"],
    "provider": "zaffre",
}
LIMIT_S = 240
END_OF_STEP = "--- end of step ---"
BLOCK = re.compile(
    r"(?:`(?P<file>[\w.]+\.yml)`:\n\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL
)


class Step(NamedTuple):
    """A block that is run, and the block below it, which says what it prints."""

    script: str
    printed: str | None


def written(page: str, folder: Path) -> list[Step]:
    """The page's steps; its files lie in `folder` then."""
    steps: list[Step] = []
    for block in BLOCK.finditer(page):
        text = block["text"]
        match block["language"]:
            case "yaml":
                (folder / block["file"]).write_text(text)
            case "bash":
                steps.append(Step(text, None))
            case "python":
                steps.append(
                    Step(f"{sys.executable} - <<'END_OF_PROGRAM'\n{text}END_OF_PROGRAM\n", None)
                )
            case _:
                steps[-1] = steps[-1]._replace(printed=text)
    return steps


def as_pattern(printed: str) -> str:
    """What the page says is printed: … is anything in a line, and alone any lines or none;
    columns are as wide as they are."""
    lines = [line.split() for line in printed.splitlines()]
    return "".join(
        r"(?:.*\n)*"
        if words == ["…"]
        else r"\s+".join(".*".join(map(re.escape, word.split("…"))) for word in words) + r"\s*\n"
        for words in lines
    )


@pytest.fixture(scope="module")
def rollout_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("rollout")
    model = folder / "home" / "models" / NAME
    model.mkdir(parents=True)
    (model / "card.json").write_text(json.dumps(CARD))
    (folder / "zaffre.yaml").write_text("deployments:\n  - {name: other, model: echo}\n")
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as running:
        yield running


def test_the_walk_works_as_printed(rollout_server: RunningServer, tmp_path: Path):
    """Given a server and the page's files, when its commands are typed one after the other in one
    shell, then each succeeds and prints what stands below it."""
    steps = written(GUIDE.read_text(), tmp_path)
    script = "".join(f"{step.script}echo '{END_OF_STEP}'\n" for step in steps)
    environ = {
        **os.environ,
        "PATH": f"{ZAFFRE.parent}:{os.environ['PATH']}",
        "ZAFFRE_URL": rollout_server.endpoint,
        "ZAFFRE_KEY": rollout_server.key,
    }
    environ.pop("ZAFFRE_ADMIN_KEY", None)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = done.stdout.split(f"{END_OF_STEP}\n")[:-1]
    assert len(printed) == len(steps) >= 15
    for step, output in zip(steps, printed, strict=True):
        if step.printed is not None:
            shown = "".join(f"{line.strip()}\n" for line in output.splitlines())
            assert re.fullmatch(as_pattern(step.printed), shown), f"{step.script}\n{output}"
