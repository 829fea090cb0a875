"""`zaffre online-deployment`: deployments, as `az ml online-deployment` has them."""

from typing import Annotated

import typer

from zaffre.cli.admin_client import (
    DEFAULT_URL,
    AdminClient,
    AdminFailed,
    Shown,
    connect,
    deployment_path,
    deployments_path,
    endpoint_path,
)
from zaffre.cli.declaring import Request, draft, prepare, redraft
from zaffre.cli.options import (
    Assignments,
    DeploymentName,
    File,
    NoWait,
    Output,
    Owner,
    Query,
    Url,
    Yes,
    confirm,
)
from zaffre.cli.output import echo
from zaffre.cli.settling import full_name, settle
from zaffre.config.fields import ManagedOnlineDeployment
from zaffre.core.plan import DeploymentPlan

COLUMNS = (
    "name",
    "endpoint_name",
    "model",
    "instance_type",
    "instance_count",
    "provisioning_state",
)
DEFAULT_LINES = 50
app = typer.Typer(
    no_args_is_help=True, help="Manage deployments, as `az ml online-deployment` does."
)
NameOrFile = Annotated[
    str | None, typer.Option("--name", "-n", help="Name of the deployment; else the file's.")
]
OwnerOrFile = Annotated[
    str | None, typer.Option("--endpoint-name", "-e", help="Its endpoint; else the file's.")
]
AllTraffic = Annotated[
    bool,
    typer.Option("--all-traffic", help="When it is ready, give it all traffic of its endpoint."),
]


@app.command()
def create(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: NameOrFile = None,
    endpoint_name: OwnerOrFile = None,
    assignments: Assignments = None,
    all_traffic: AllTraffic = False,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Create a deployment and wait until it is ready; one that exists is refused."""
    if file is None and (name is None or not assignments):
        raise typer.BadParameter("give --file, or --name and --set model=...")
    if all_traffic and no_wait:
        raise typer.BadParameter("traffic goes to what is ready: use one of both.")
    fields = {"name": name, "endpoint_name": endpoint_name}
    document = draft(ManagedOnlineDeployment, file, fields, assignments or ())
    request = prepare([document])
    wanted = _only(request)
    if all_traffic and wanted.endpoint is None:
        raise typer.BadParameter("a deployment outside endpoints shares no traffic.")
    with connect(url) as client:
        if client.find(deployment_path(wanted.endpoint, wanted.name)) is not None:
            raise AdminFailed(
                f"deployment '{full_name(wanted.endpoint, wanted.name)}' exists already; change it"
                " with: zaffre online-deployment update"
            )
        shown = _sent(client, request, no_wait=no_wait)
        if all_traffic:
            change = {"traffic": {shown["name"]: 100}}
            client.change("PATCH", endpoint_path(shown["endpoint_name"]), change)
    echo(shown, output, columns=COLUMNS, query=query)


@app.command()
def update(  # noqa: PLR0913, PLR0917 - one parameter per option
    file: File = None,
    name: NameOrFile = None,
    endpoint_name: OwnerOrFile = None,
    assignments: Assignments = None,
    no_wait: NoWait = False,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Change a deployment by a file or by single fields; no request is lost.

    What answers now goes on until its successor is ready.
    """
    if not (file or assignments):
        raise typer.BadParameter("say what to change: --file or --set.")
    if file is None and name is None:
        raise typer.BadParameter("give --file or --name.")
    with connect(url) as client:
        if file is not None:
            fields = {"name": name, "endpoint_name": endpoint_name}
            document = draft(ManagedOnlineDeployment, file, fields, assignments or ())
        else:
            before = client.get(deployment_path(endpoint_name, str(name)))
            document = redraft(ManagedOnlineDeployment, before, assignments or ())
        request = prepare([document])
        wanted = _only(request)
        client.get(deployment_path(wanted.endpoint, wanted.name))
        shown = _sent(client, request, no_wait=no_wait)
    echo(shown, output, columns=COLUMNS, query=query)


@app.command()
def show(
    name: DeploymentName,
    endpoint_name: Owner = None,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """Show a deployment, and how its last change went."""
    with connect(url) as client:
        shown = client.get(deployment_path(endpoint_name, name))
    echo(shown, output, columns=COLUMNS, query=query)


@app.command("list")
def list_deployments(
    endpoint_name: Owner = None,
    url: Url = DEFAULT_URL,
    output: Output = "json",
    query: Query = None,
) -> None:
    """List the deployments of an endpoint."""
    with connect(url) as client:
        shown = client.get(deployments_path(endpoint_name))
    echo(shown, output, columns=COLUMNS, query=query)


@app.command()
def delete(
    name: DeploymentName,
    endpoint_name: Owner = None,
    yes: Yes = False,
    no_wait: NoWait = False,  # az's; it is gone at once, its calls end in peace
    url: Url = DEFAULT_URL,
) -> None:
    """Delete a deployment that gets no traffic."""
    confirm(f"deployment '{full_name(endpoint_name, name)}'", yes=yes)
    with connect(url) as client:
        client.change("DELETE", deployment_path(endpoint_name, name))


@app.command("get-logs")
def get_logs(
    name: DeploymentName,
    endpoint_name: Owner = None,
    lines: Annotated[
        int, typer.Option("--lines", "-l", min=1, max=999_999, help="How many of the last lines.")
    ] = DEFAULT_LINES,
    url: Url = DEFAULT_URL,
) -> None:
    """Print the last lines that a deployment's workers wrote."""
    with connect(url) as client:
        path = f"{deployment_path(endpoint_name, name)}/logs"
        for line in client.get(path, {"lines": str(lines)})["lines"]:
            print(line)


def _only(request: Request) -> DeploymentPlan:
    return request.declared.change.deployments[0]


def _sent(client: AdminClient, request: Request, *, no_wait: bool) -> Shown:
    """The deployment, sent, and ready unless nobody waits for it."""
    shown: Shown = request.send(client)["deployments"][0]
    return shown if no_wait else settle(client, shown["endpoint_name"], shown["name"])
