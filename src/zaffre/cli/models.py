"""`zaffre models`: what models there are, and bringing them here and away."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

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
from zaffre.registry.catalogue import CatalogueModel, catalogue, starters
from zaffre.registry.choice import readable_size
from zaffre.registry.facts import facts_of, to_json, to_text
from zaffre.registry.pull import PullStep, is_current
from zaffre.registry.references import HubReference
from zaffre.registry.resolve import Pullable, find_pullable, local_name, pull_model, store_name
from zaffre.registry.store import InstalledModel, ModelStore, default_home

STAGE_WORDS = {"waiting": "waiting for another pull", "asking": "asking the hub"}

app = typer.Typer(no_args_is_help=True, help="List, pull and remove models.")

HOW_NAMED = (
    "Names of the catalogue, azureml://registries/... or hf:OWNER/REPOSITORY[@REVISION][:FILE]."
)

Names = Annotated[list[str] | None, typer.Argument(help=HOW_NAMED, show_default=False)]
Name = Annotated[str, typer.Argument(help="A model.", show_default=False)]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="text or json.")]


@app.command("list")
def list_models() -> None:
    """List the models on this machine and those that can be pulled."""
    store = ModelStore(default_home(os.environ))
    installed = {model.card.name: model for model in store.installed()}
    damaged = {damage.name for damage in store.damaged()}
    known = {model.name: model for model in catalogue()}
    begun = store.begun()
    rows = [("name", "does", "format", "size", "licence", "state")]
    for name in sorted({*installed, *damaged, *known, *begun}):
        row = _row(name, installed.get(name), known.get(name), name in damaged)
        cut = f", {_megabytes(begun[name])} of a download are here" if name in begun else ""
        rows.append((*row[:-1], f"{row[-1]}{cut}"))
    # Not a rich table: one model is one line, however narrow the terminal, so that grep works.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


@app.command()
def show(name: Name, output: Output = "text") -> None:
    """Show all that is known about a model."""
    with _errors_told():
        facts = facts_of(name, ModelStore(default_home(os.environ)))
        print(to_json(facts) if output == "json" else to_text(facts))


@app.command("pull")
def pull_models(
    names: Names = None,
    all_starters: Annotated[
        bool, typer.Option("--starters", help="Pull one model per modality.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the hub whether a model that is here has changed.")
    ] = False,
) -> None:
    """Bring models here, and print their names in the store.

    What is here already is left alone; what was cut off goes on where it was.
    """
    if not names and not all_starters:
        raise typer.BadParameter("name a model, or give --starters.", param_hint="NAMES")
    with _errors_told():
        wanted = [model.name for model in starters()] if all_starters else []
        models = [find_pullable(name) for name in dict.fromkeys([*wanted, *(names or ())])]
        here = pull_with_progress(ModelStore(default_home(os.environ)), models, update=update)
        for asked, model in zip(models, here, strict=True):
            print(f"{asked if isinstance(asked, HubReference) else asked.name}: {model.card.name}")


@app.command()
def rm(names: Annotated[list[str], typer.Argument(help="Names of models.")]) -> None:
    """Delete models from this machine, and what was begun to be downloaded of them."""
    store = ModelStore(default_home(os.environ))
    with _errors_told():
        for name in names:
            store.remove(local_name(name))
            print(f"{name}: deleted")


def pull_with_progress(
    store: ModelStore, models: Iterable[Pullable], *, update: bool = False
) -> list[InstalledModel]:
    """Pull `models` one after the other, with a progress bar each on standard error."""
    columns = (
        TextColumn("{task.fields[model]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return [
            pull_model(
                store,
                model,
                os.environ,
                _Bar(progress, progress.add_task("", model=store_name(model))),
                update=update,
            )
            for model in models
        ]


class _Bar:
    """Draws the steps of one pull."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._announced = False

    def __call__(self, step: PullStep) -> None:
        """Draw `step`."""
        # A pull that downloads nothing is a full bar, not an endless one.
        total = step.total_bytes or 1
        done = total if step.stage == "done" else step.done_bytes
        words = STAGE_WORDS.get(step.stage, step.stage)
        if step.stage == "downloading" and step.place and not self._announced:
            self._announced = True
            size = readable_size(step.total_bytes)
            self._progress.console.print(f"{size} from {step.place}", highlight=False)
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
        return name, "", "", "", "", "damaged: remove it" if damaged else "not whole"
    return name, ", ".join(card.operations), card.format, size, card.license, state


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except ZaffreError as trouble:
        print(trouble.message, file=sys.stderr)
        raise typer.Exit(1) from trouble
