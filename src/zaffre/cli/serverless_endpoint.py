"""`zaffre serverless-endpoint`: endpoints of one model, as `az ml serverless-endpoint` has them."""

from typing import Annotated

import typer

from zaffre.cli import endpoint_verbs as verbs
from zaffre.cli.admin_client import DEFAULT_URL, AdminClient, Shown, connect
from zaffre.cli.declaring import draft, redraft
from zaffre.cli.endpoint_verbs import SERVERLESS, KeyType
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
from zaffre.cli.settling import settle

app = typer.Typer(
    no_args_is_help=True,
    help="Manage endpoints of one model, as `az ml serverless-endpoint` does.",
)
ModelId = Annotated[
    str | None,
    typer.Option("--model-id", help="The model: a name, azureml://registries/... or hf:..."),
]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: EndpointNameOrFile = None,
    model_id: ModelId = None,
    auth_mode: AuthMode = None,
    assignments: Assignments = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Create an endpoint of one model, from a file or options; one that exists is refused."""
    if file is None and (name is None or model_id is None):
        raise typer.BadParameter("give --file, or --name and --model-id.")
    fields = {"name": name, "model_id": model_id, "auth_mode": auth_mode}
    document = draft(SERVERLESS.document, file, fields, assignments or ())
    with connect(url) as client:
        shown = verbs.create(client, SERVERLESS, document)
        shown = _settled(client, shown, no_wait=no_wait)
    echo(shown, output, columns=SERVERLESS.columns, query=query)


@app.command()
def update(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: EndpointNameOrFile = None,
    assignments: Assignments = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Change an endpoint by a file or by single fields."""
    if not (file or assignments):
        raise typer.BadParameter("say what to change: --file or --set.")
    if file is None and name is None:
        raise typer.BadParameter("give --file or --name.")
    with connect(url) as client:
        if file is not None:
            document = draft(SERVERLESS.document, file, {"name": name}, assignments or ())
        else:
            before = verbs.show(client, SERVERLESS, str(name))
            document = redraft(SERVERLESS.document, before, assignments or ())
        shown = verbs.replace(client, SERVERLESS, document)
        shown = _settled(client, shown, no_wait=no_wait)
    echo(shown, output, columns=SERVERLESS.columns, query=query)


@app.command()
def show(
    name: EndpointName,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Show an endpoint and its address."""
    with connect(url) as client:
        shown = verbs.show(client, SERVERLESS, name)
    echo(shown, output, columns=SERVERLESS.columns, query=query)


@app.command("list")
def list_endpoints(url: Url = DEFAULT_URL, output: Output = "json", query: Query = None) -> None:
    """List the endpoints of one model."""
    with connect(url) as client:
        shown = verbs.list_all(client, SERVERLESS)
    echo(shown, output, columns=SERVERLESS.columns, query=query)


@app.command()
def delete(
    name: EndpointName,
    yes: Yes = False,
    no_wait: NoWait = False,  # az's; it is gone at once, its calls end in peace
    url: Url = DEFAULT_URL,
) -> None:
    """Delete an endpoint."""
    confirm(f"endpoint '{name}'", yes=yes)
    with connect(url) as client:
        verbs.delete(client, SERVERLESS, name)


@app.command("get-credentials")
def get_credentials(
    name: EndpointName, url: Url = DEFAULT_URL, output: Output = "json", query: Query = None
) -> None:
    """Show what is known of an endpoint's two keys; the keys themselves nobody can show."""
    with connect(url) as client:
        facts = verbs.credentials(client, SERVERLESS, name)
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
        made = verbs.regenerate(client, SERVERLESS, name, key_type)
    echo(made, output, query=query)


def _settled(client: AdminClient, shown: Shown, *, no_wait: bool) -> Shown:
    """The endpoint when its model, a deployment under the same name, is ready."""
    if no_wait:
        return shown
    settle(client, shown["name"], shown["name"])
    return verbs.show(client, SERVERLESS, shown["name"])
