"""Options that many commands share, spelled as `az` spells them."""

from pathlib import Path
from typing import Annotated

import typer

from zaffre.cli.output import Form

Url = Annotated[
    str,
    typer.Option("--url", envvar="ZAFFRE_URL", help="The server. Its admin key: ZAFFRE_ADMIN_KEY."),
]
Output = Annotated[Form, typer.Option("--output", "-o", help="json, table or tsv.")]
Query = Annotated[
    str | None,
    typer.Option("--query", help="Print a part: scoring_uri, traffic.blue, [0], [].name."),
]
File = Annotated[Path | None, typer.Option("--file", "-f", help="YAML file with the declaration.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a field: tags.team=search; may be given several times."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait until the server has made it true.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
EndpointName = Annotated[str, typer.Option("--name", "-n", help="Name of the endpoint.")]
EndpointNameOrFile = Annotated[
    str | None, typer.Option("--name", "-n", help="Name of the endpoint; else the file's.")
]
AuthMode = Annotated[str | None, typer.Option("--auth-mode", help="key, aml_token or aad_token.")]
Owner = Annotated[
    str | None,
    typer.Option("--endpoint-name", "-e", help="Its endpoint; left out: the server's root."),
]
DeploymentName = Annotated[str, typer.Option("--name", "-n", help="Name of the deployment.")]


def confirm(what: str, *, yes: bool) -> None:
    """Ask whether to go on. Raises `typer.Abort` for a no, and where nobody can be asked."""
    if not yes:
        typer.confirm(f"Delete {what}?", abort=True)
