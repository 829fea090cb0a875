"""Tidy: purpose lines, names and sizes of all Python files of the repository.

`long_functions.txt` lists the functions whose bodies are longer than they should be, with today's
number of lines. It may only shrink: a longer body fails, and so does a number that is now too high.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
RATCHET = Path(__file__).with_name("long_functions.txt")
MAX_FILE_LINES = 500
MAX_BODY_LINES = 40
HARD_MAX_BODY_LINES = 70
VAGUE_NAMES = {"data", "helper", "helpers", "manager", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _tracked(pattern: str) -> list[Path]:
    # Untracked files count too, so that the test speaks before the commit does.
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        ROOT / line for line in sorted(set(listed.stdout.splitlines())) if (ROOT / line).exists()
    ]


MODULES = _tracked("*.py")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function | ast.ClassDef):
            name = f"{inside}{node.name}"
            if isinstance(node, Function):
                yield name, node
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, inside)


def _body_lines(function: Function) -> int:
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def _long_functions() -> dict[str, int]:
    found = {}
    for path in MODULES:
        for name, function in _functions(ast.parse(path.read_text())):
            lines = _body_lines(function)
            if lines > MAX_BODY_LINES:
                found[f"{_name(path)}:{name}"] = lines
    return found


def _allowed_functions() -> dict[str, int]:
    entries = (line.split() for line in RATCHET.read_text().splitlines() if line)
    return {name: int(lines) for name, lines in entries}


def test_modules_start_with_their_purpose():
    """Given all modules, when they are read, then the first line of each is a sentence."""
    first_lines = {
        _name(path): (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        for path in MODULES
    }
    assert not {name: line for name, line in first_lines.items() if not line.endswith(".")}


def test_files_can_be_read_in_one_sitting():
    """Given all modules, when their lines are counted, then none has too many."""
    lengths = {_name(path): len(path.read_text().splitlines()) for path in MODULES}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_modules_are_named_by_what_they_are():
    """Given all modules, when their paths are read, then no part is a word for anything."""
    words = {_name(path): set(re.split(r"[_./]", _name(path))) for path in MODULES}
    assert not {name: found & VAGUE_NAMES for name, found in words.items() if found & VAGUE_NAMES}


def test_functions_are_short_or_known_to_be_long():
    """Given the ratchet, when bodies are measured, then no function is longer than it allows."""
    allowed = _allowed_functions()
    too_long = {
        name: lines
        for name, lines in _long_functions().items()
        if lines > allowed.get(name, MAX_BODY_LINES)
    }
    assert not too_long, "split these functions"


def test_the_ratchet_only_shrinks():
    """Given functions that got shorter, when the ratchet is read, then it has followed them."""
    allowed, today = _allowed_functions(), _long_functions()
    slack = {
        name: today.get(name, 0) for name, lines in allowed.items() if today.get(name) != lines
    }
    assert not slack, f"write today's numbers into {_name(RATCHET)}, or drop the line"
    assert all(lines <= HARD_MAX_BODY_LINES for lines in allowed.values())
