"""The `zaffre` command."""

import sys

import typer

from zaffre import __version__
from zaffre.cli.dev_cert import dev_cert
from zaffre.cli.models import app as models
from zaffre.cli.serve import serve
from zaffre.core.errors import ZaffreError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(models, name="models")
app.command()(serve)
app.command()(dev_cert)


@app.callback()
def root() -> None:
    """A self-hosted server for the Azure AI Model Inference API."""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """Run the command line; an error of ours is one sentence, not a traceback."""
    try:
        app()
    except ZaffreError as error:
        print(f"zaffre: {error.message}", file=sys.stderr)
        sys.exit(1)
