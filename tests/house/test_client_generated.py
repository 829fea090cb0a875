"""The synchronous client is what the asynchronous one says, and nobody wrote into it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[2] / "scripts" / "generate_client.py"


def test_the_synchronous_client_is_current():
    """Given both clients, when one is generated from the other again, then nothing changes."""
    command = [sys.executable, GENERATOR, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"run `python scripts/{GENERATOR.name}`\n{done.stdout}{done.stderr}"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("async def a(self) -> None:", "def a(self) -> None:"),
        ("async with aclosing(x) as y:", "with closing(x) as y:"),
        ("return await anext(self)", "return next(self)"),
        ("raise StopAsyncIteration", "raise StopIteration"),
        ("async def __aenter__(self) -> Self:", "def __enter__(self) -> Self:"),
        ("Callable[[float], Awaitable[None]] = async_pause", "Callable[[float], None] = pause"),
        (
            "httpx2.AsyncClient(transport: AsyncBaseTransport)",
            "httpx2.Client(transport: BaseTransport)",
        ),
        ("from contextlib import asynccontextmanager", "from contextlib import contextmanager"),
        ("an await-free word: close, next, aiter", None),
        ("asyncio.sleep(1)", None),
    ],
)
def test_words_lose_their_waiting(source: str, expected: str | None):
    """Given code that waits, when it is translated, then it does not, or it is refused."""
    synchronous = runpy.run_path(str(GENERATOR))["synchronous"]
    if expected is None:
        with pytest.raises(ValueError, match="No rule"):
            synchronous(source)
    else:
        assert synchronous(source) == expected
