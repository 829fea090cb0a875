"""`zaffre models`: what models there are, and bringing them here and away."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from zaffre.core.errors import ZaffreError
from zaffre.registry.catalogue import CatalogueModel, catalogue, look_up, starters
from zaffre.registry.errors import ModelNotInstalled
from zaffre.registry.pull import PullStep, is_current, pull
from zaffre.registry.store import InstalledModel, ModelStore, default_home
from zaffre.registry.wheels import PipSource

app = typer.Typer(no_args_is_help=True, help="List, pull and remove models.")

Names = Annotated[list[str] | None, typer.Argument(help="Names of models.", show_default=False)]
Name = Annotated[str, typer.Argument(help="Name of a model.", show_default=False)]


@app.command("list")
def list_models() -> None:
    """List the models on this machine and those that can be pulled."""
    store = ModelStore(default_home(os.environ))
    installed = {model.card.name: model for model in store.installed()}
    damaged = {damage.name for damage in store.damaged()}
    known = {model.name: model for model in catalogue()}
    rows = [("name", "does", "format", "size", "licence", "state")]
    rows += [
        _row(name, installed.get(name), known.get(name), name in damaged)
        for name in sorted({*installed, *damaged, *known})
    ]
    # Not a rich table: one model is one line, however narrow the terminal, so that grep works.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


@app.command()
def show(name: Name) -> None:
    """Show all that is known about a model, as JSON."""
    with _errors_told():
        print(msgspec.json.format(msgspec.json.encode(_facts(name)), indent=2).decode())


@app.command("pull")
def pull_models(
    names: Names = None,
    all_starters: Annotated[
        bool, typer.Option("--starters", help="Pull one model per modality.")
    ] = False,
) -> None:
    """Bring models here. What is here already is left alone."""
    if not names and not all_starters:
        raise typer.BadParameter("name a model, or give --starters.", param_hint="NAMES")
    with _errors_told():
        wanted = [model.name for model in starters()] if all_starters else []
        models = [look_up(name) for name in dict.fromkeys([*wanted, *(names or ())])]
        pull_with_progress(ModelStore(default_home(os.environ)), models)


@app.command()
def rm(names: Annotated[list[str], typer.Argument(help="Names of models.")]) -> None:
    """Delete models from this machine."""
    store = ModelStore(default_home(os.environ))
    with _errors_told():
        for name in names:
            store.remove(name)
            print(f"{name}: deleted")


def pull_with_progress(store: ModelStore, models: Iterable[CatalogueModel]) -> list[InstalledModel]:
    """Pull `models` one after the other, with a progress bar each on standard error."""
    source = PipSource(os.environ)
    columns = (
        TextColumn("{task.fields[model]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return [
            pull(store, model, source, _Bar(progress, progress.add_task("", model=model.name)))
            for model in models
        ]


class _Bar:
    """Draws the steps of one pull."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def __call__(self, step: PullStep) -> None:
        """Draw `step`."""
        # A pull that downloads nothing is a full bar, not an endless one.
        total = step.total_bytes or 1
        done = total if step.stage == "done" else step.done_bytes
        words = "waiting for another pull" if step.stage == "waiting" else step.stage
        self._progress.update(self._task, completed=done, total=total, description=words)


def _row(
    name: str, model: InstalledModel | None, entry: CatalogueModel | None, damaged: bool
) -> tuple[str, str, str, str, str, str]:
    if model is not None:
        outdated = entry is not None and model.origin is not None and not is_current(model, entry)
        state = "installed, a newer one can be pulled" if outdated else "installed"
        card, size = model.card, _megabytes(model.size_bytes)
    elif entry is not None:
        download = f"{_megabytes(entry.download_bytes)} to download"
        state = f"damaged: pull it again, {download}" if damaged else f"can be pulled, {download}"
        card, size = entry.card, ""
    else:
        return name, "", "", "", "", "damaged: remove it"
    return name, ", ".join(card.operations), card.format, size, card.license, state


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _facts(name: str) -> dict[str, object]:
    store = ModelStore(default_home(os.environ))
    try:
        model = store.find(name)
    except ModelNotInstalled:
        entry = look_up(name)
        packages = [package.requirement for package in entry.packages]
        return {
            "installed": False,
            "card": entry.card,
            "packages": packages,
            "download_bytes": entry.download_bytes,
        }
    return {
        "installed": True,
        "card": model.card,
        "path": str(model.path),
        "size_bytes": model.size_bytes,
        "origin": model.origin,
    }


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except ZaffreError as trouble:
        print(trouble.message, file=sys.stderr)
        raise typer.Exit(1) from trouble
