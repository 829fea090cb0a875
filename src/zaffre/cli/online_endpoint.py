"""`zaffre online-endpoint`: endpoints with deployments, as `az ml online-endpoint` has them."""

from typing import Annotated

import typer

from zaffre.cli import endpoint_verbs as verbs
from zaffre.cli.admin_client import DEFAULT_URL, connect, endpoint_path
from zaffre.cli.declaring import draft, redraft
from zaffre.cli.endpoint_verbs import MANAGED, KeyType
from zaffre.cli.options import (
    Assignments,
    AuthMode,
    EndpointName,
    EndpointNameOrFile,
    File,
    NoWait,
    Output,
    Query,
    Url,
    Yes,
    confirm,
)
from zaffre.cli.output import echo
from zaffre.config.plan_changes import read_shares

app = typer.Typer(
    no_args_is_help=True, help="Manage endpoints with deployments, as `az ml online-endpoint` does."
)
Traffic = Annotated[
    str | None, typer.Option("--traffic", help='Percent per deployment: "blue=90 green=10".')
]
Mirror = Annotated[
    str | None,
    typer.Option("--mirror-traffic", help='Percent of requests to copy: "green=10".'),
]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: EndpointNameOrFile = None,
    auth_mode: AuthMode = None,
    assignments: Assignments = None,
    no_wait: NoWait = False,  # az's; an endpoint is there at once
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Create an endpoint from a file, or with a name alone; one that exists is refused."""
    if file is None and name is None:
        raise typer.BadParameter("give --file or --name.")
    fields = {"name": name, "auth_mode": auth_mode}
    document = draft(MANAGED.document, file, fields, assignments or ())
    with connect(url) as client:
        shown = verbs.create(client, MANAGED, document)
    echo(shown, output, columns=MANAGED.columns, query=query)


@app.command()
def update(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: EndpointNameOrFile = None,
    traffic: Traffic = None,
    mirror_traffic: Mirror = None,
    assignments: Assignments = None,
    no_wait: NoWait = False,  # az's; an endpoint changes at once
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Change an endpoint: by a file, single fields, or the shares of its deployments.

    A deployment that --traffic does not name gets nothing, as on Azure.
    """
    shares = {
        "traffic": None if traffic is None else read_shares(traffic),
        "mirror_traffic": None if mirror_traffic is None else read_shares(mirror_traffic),
    }
    said = {field: share for field, share in shares.items() if share is not None}
    if not (file or assignments or said):
        raise typer.BadParameter("say what to change: --file, --set or --traffic.")
    if file is None and name is None:
        raise typer.BadParameter("give --file or --name.")
    with connect(url) as client:
        if file is not None:
            document = draft(MANAGED.document, file, {"name": name, **said}, assignments or ())
            shown = verbs.replace(client, MANAGED, document)
        elif assignments:
            before = verbs.show(client, MANAGED, str(name)) | said
            document = redraft(MANAGED.document, before, assignments)
            shown = verbs.replace(client, MANAGED, document)
        else:
            verbs.show(client, MANAGED, str(name))
            changed = client.change("PATCH", endpoint_path(str(name)), said)
            shown = verbs.with_address(client, changed)
    echo(shown, output, columns=MANAGED.columns, query=query)


@app.command()
def show(
    name: EndpointName,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Show an endpoint, its shares and its address."""
    with connect(url) as client:
        shown = verbs.show(client, MANAGED, name)
    echo(shown, output, columns=MANAGED.columns, query=query)


@app.command("list")
def list_endpoints(url: Url = DEFAULT_URL, output: Output = "json", query: Query = None) -> None:
    """List the endpoints with deployments."""
    with connect(url) as client:
        shown = verbs.list_all(client, MANAGED)
    echo(shown, output, columns=MANAGED.columns, query=query)


@app.command()
def delete(
    name: EndpointName,
    yes: Yes = False,
    no_wait: NoWait = False,  # az's; it is gone at once, its calls end in peace
    url: Url = DEFAULT_URL,
) -> None:
    """Delete an endpoint with all its deployments."""
    confirm(f"endpoint '{name}' and its deployments", yes=yes)
    with connect(url) as client:
        verbs.delete(client, MANAGED, name)


@app.command("get-credentials")
def get_credentials(
    name: EndpointName, url: Url = DEFAULT_URL, output: Output = "json", query: Query = None
) -> None:
    """Show what is known of an endpoint's two keys; the keys themselves nobody can show."""
    with connect(url) as client:
        facts = verbs.credentials(client, MANAGED, name)
    echo(facts, output, query=query)


@app.command("regenerate-keys")
def regenerate_keys(
    name: EndpointName,
    key_type: Annotated[KeyType, typer.Option("--key-type", help="Which one.")] = "primary",
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Make a new key in place of one of an endpoint's two, and show it this once."""
    with connect(url) as client:
        made = verbs.regenerate(client, MANAGED, name, key_type)
    echo(made, output, query=query)
