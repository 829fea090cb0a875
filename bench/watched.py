"""`zaffre` with a window: what its process holds, told on request.

python -m bench.watched serve ...       SIGUSR1 makes it append a line of JSON to $BENCH_WINDOW
"""

import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path

from zaffre.cli.main import main

WINDOW = "BENCH_WINDOW"


def tell(_signal: int, _frame: object) -> None:
    """Write down what there is."""
    gc.collect()
    # Not asyncio.all_tasks(): it asks for a running loop, which a signal may find between two.
    everything = gc.get_objects()
    tasks = [item for item in everything if isinstance(item, asyncio.Task) and not item.done()]
    held = {
        "tasks": len(tasks),
        "objects": len(everything),
        "blocks": sys.getallocatedblocks(),
    }
    with Path(os.environ[WINDOW]).open("a") as window:
        window.write(json.dumps(held) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    main()
