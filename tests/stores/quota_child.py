"""One of two gateway processes in a race: makes requests at once and says how many got through.

python quota_child.py URL KEY REQUESTS LIMIT [die]     die: is killed with all that it has taken
"""

import asyncio
import os
import signal
import sys

from zaffre.core.errors import QuotaExceeded
from zaffre.core.metering import Scope
from zaffre.core.plan import Limits
from zaffre.metering.stores import open_quota


async def main() -> None:
    """Wait for the word, race, and tell."""
    url, key, requests, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    quota = open_quota(url)
    await (await quota.reserve([Scope("key", "other", Limits(requests_per_minute=9))], 0)).settle(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    scopes = [Scope("key", key, Limits(requests_per_minute=limit, tokens_per_minute=10**6))]
    outcomes = await asyncio.gather(
        *(quota.reserve(scopes, 10) for _ in range(requests)), return_exceptions=True
    )
    if sys.argv[5:] == ["die"]:
        os.kill(os.getpid(), signal.SIGKILL)
    refused = sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes)
    admitted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for reservation in admitted:
        await reservation.settle(4)
    await quota.aclose()
    sys.stdout.write(f"{len(admitted)} {refused}\n")


if __name__ == "__main__":
    asyncio.run(main())
