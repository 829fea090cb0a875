"""The `zaffre` command: a table of its commands, of which only the one that runs is loaded."""

import sys
from importlib import import_module
from typing import NamedTuple

import typer

from zaffre import __version__
from zaffre.core.errors import ZaffreError


class Command(NamedTuple):
    """A row of the table."""

    name: str
    place: str
    """`module:attribute`: a function, or an app with commands of its own."""
    summary: str
    """What `zaffre --help` says of it, without loading it."""


COMMANDS = (
    Command(
        "serve",
        "zaffre.cli.serve:serve",
        "Serve models over the Azure AI Model Inference API.",
    ),
    Command(
        "apply",
        "zaffre.cli.apply:apply",
        "Create or replace what files declare on a running server, all or nothing.",
    ),
    Command(
        "online-endpoint",
        "zaffre.cli.online_endpoint:app",
        "Manage endpoints with deployments, as `az ml online-endpoint` does.",
    ),
    Command(
        "online-deployment",
        "zaffre.cli.online_deployment:app",
        "Manage deployments, as `az ml online-deployment` does.",
    ),
    Command(
        "serverless-endpoint",
        "zaffre.cli.serverless_endpoint:app",
        "Manage endpoints of one model, as `az ml serverless-endpoint` does.",
    ),
    Command(
        "ps", "zaffre.cli.replicas:ps", "Show what runs: replicas, their memory and their speed."
    ),
    Command("keys", "zaffre.cli.keys:app", "Make, list, rotate and revoke API keys."),
    Command(
        "usage",
        "zaffre.cli.usage:usage",
        "Show what was used, from the ledger itself: a server may run or not, nothing is changed.",
    ),
    Command("models", "zaffre.cli.models:app", "List, pull and remove models."),
    Command(
        "pull",
        "zaffre.cli.models:pull_models",
        "Bring models here, and print their names in the store.",
    ),
    Command("show", "zaffre.cli.models:show", "Show all that is known about a model."),
    Command(
        "dev-cert",
        "zaffre.cli.dev_cert:dev_cert",
        "Make a certificate for localhost and say how clients come to trust it.",
    ),
    Command(
        "dev-issuer",
        "zaffre.cli.dev_issuer:dev_issuer",
        "Issue tokens to programs on this machine, for development alone.",
    ),
)


def version() -> None:
    """Print the version."""
    print(__version__)


def build_app(wanted: str | None) -> typer.Typer:
    """The command line, of which only the command `wanted` can be run.

    Loading all of them takes a second: a server's parts are large, and `zaffre ps` needs none.
    """
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    for command in COMMANDS:
        if command.name != wanted:
            app.command(command.name, help=command.summary)(_not_loaded)
            continue
        module, _, attribute = command.place.partition(":")
        loaded = getattr(import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=command.name)
        else:
            app.command(command.name)(loaded)
    app.command()(version)
    return app


def main() -> None:
    """Run the command line; an error of ours is one sentence, not a traceback."""
    wanted = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        build_app(wanted)(prog_name="zaffre")
    except ZaffreError as error:
        print(f"zaffre: {error.message}", file=sys.stderr)
        sys.exit(1)


def _root() -> None:
    """A self-hosted server for the Azure AI Model Inference API."""


def _not_loaded() -> None:
    """Stands in the list of commands for one that was not asked for."""
