"""`zaffre apply`: make what files declare true on a running server, all of it or nothing."""

from pathlib import Path
from typing import Annotated

import typer

from zaffre.cli.admin_client import DEFAULT_URL, AdminClient, Shown, connect
from zaffre.cli.declaring import prepare, read_all
from zaffre.cli.endpoint_verbs import with_address
from zaffre.cli.options import NoWait, Output, Query, Url
from zaffre.cli.output import echo
from zaffre.cli.settling import full_name, settle
from zaffre.config.settings import ConfigurationError

COLUMNS = ("kind", "name", "provisioning_state")


def apply(
    file: Annotated[
        list[Path], typer.Option("--file", "-f", help="YAML file; may be given several times.")
    ],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="More files.")
    ] = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    output: Output = "table",
    query: Query = None,
) -> None:
    """Create or replace what files declare on a running server, all or nothing.

    What they do not name stays as it is. Relative paths in a file start at its folder, and must
    lead to the same place on the server's machine.
    """
    files = [*file, *(more or ())]
    request = prepare(read_all(files))
    if not request.documents:
        raise ConfigurationError(f"{', '.join(map(str, files))}: nothing is declared there.")
    with connect(url) as client:
        applied = request.send(client)
        if not no_wait:
            applied = _settled(client, applied)
        endpoints = [with_address(client, endpoint) for endpoint in applied["endpoints"]]
    deployments = applied["deployments"]
    if output == "json" or query is not None:
        echo({"endpoints": endpoints, "deployments": deployments}, output, query=query)
        return
    rows = [endpoint | {"kind": "endpoint"} for endpoint in endpoints]
    rows += [_row(deployment) for deployment in deployments]
    echo([{name: row[name] for name in COLUMNS} for row in rows], output)


def _settled(client: AdminClient, applied: Shown) -> Shown:
    """Everything that was applied, once it is ready."""
    for endpoint in applied["endpoints"]:
        if "model_id" in endpoint:  # serverless: its one deployment is not listed by itself
            settle(client, endpoint["name"], endpoint["name"])
    deployments = [
        settle(client, shown["endpoint_name"], shown["name"]) for shown in applied["deployments"]
    ]
    endpoints = [client.get(f"endpoints/{shown['name']}") for shown in applied["endpoints"]]
    return {"endpoints": endpoints, "deployments": deployments}


def _row(deployment: Shown) -> Shown:
    name = full_name(deployment["endpoint_name"], deployment["name"])
    return deployment | {"kind": "deployment", "name": name}
