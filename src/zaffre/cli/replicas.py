"""`zaffre ps`: what runs."""

from zaffre.cli.admin_client import DEFAULT_URL, Shown, connect
from zaffre.cli.options import Output, Query, Url
from zaffre.cli.output import echo

COLUMNS = (
    "deployment",
    "replica",
    "engine",
    "state",
    "pid",
    "memory",
    "calls",
    "waiting",
    "tokens",
    "tokens/s",
    "restarts",
    "cause",
)


def ps(url: Url = DEFAULT_URL, output: Output = "table", query: Query = None) -> None:
    """Show what runs: replicas, their memory and their speed.

    Tokens per second are those of the whole deployment, in the last second.
    """
    with connect(url) as client:
        replicas = client.get("replicas")["replicas"]
    if output != "table" or query is not None:
        echo(replicas, output, query=query)
        return
    rows = [_row(replica) for replica in replicas]
    troubled = any(row["cause"] for row in rows)
    echo(rows, output, columns=COLUMNS if troubled else COLUMNS[:-1])


def _row(replica: Shown) -> Shown:
    """A replica in the words of the table."""
    return replica | {
        "replica": replica["name"],
        "memory": f"{replica['memory_mib']} MiB",
        "tokens/s": f"{replica['tokens_per_s']:.0f}",
    }
