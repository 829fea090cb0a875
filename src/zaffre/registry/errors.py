"""What can go wrong with model files, by cause; every message says what to do next.

RegistryError
├── InvalidModelName     not a name the store would keep
├── InvalidReference     not a way to name a model: no `hf:...`, no registry id
├── ModelNotInstalled    no such model in the store
├── ModelDamaged         its folder is incomplete or its card unreadable
├── NotInCatalogue       nobody knows where to get it
│   └── NotMapped        the same of a model of Azure's registries
├── InvalidCatalogue     the list of models is not what its schema says
└── PullFailed           download, verification or preparation failed; nothing was installed
    ├── HubUnavailable   offline, not reachable, or out of order
    ├── HubAccessDenied  gated, private, or a wrong token
    ├── NotOnHub         no such repository, revision, file or format
    ├── SeveralModels    the repository has more than one, and none was chosen
    └── FileRefused      a file that could run code, or is not what its name says
"""

from collections.abc import Sequence
from difflib import get_close_matches

from zaffre.core.errors import ZaffreError

NEAR_NAMES = 4


class RegistryError(ZaffreError):
    """Base of all errors about model files."""

    code = "registry_error"


class InvalidModelName(RegistryError):
    """The name cannot be a folder of the store."""

    code = "invalid_model_name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:100]!r} is no model name: use 1 to 96 of a-z, 0-9, '.', '_' and '-', beginning"
            " and ending with a letter or digit."
        )


class InvalidReference(RegistryError):
    """The text names no model in any known way."""

    code = "invalid_model_reference"


class ModelNotInstalled(RegistryError):
    """No such model in the store."""

    code = "model_not_installed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Model '{name}' is not installed. Run `zaffre models pull {name}`, or"
            " `zaffre models list` to see what there is."
        )
        self.name = name


class ModelDamaged(RegistryError):
    """The model's folder is incomplete or its card unreadable."""

    code = "model_damaged"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"Model '{name}' is damaged: {why}. Run `zaffre models pull {name}` to repair it, or"
            f" `zaffre models rm {name}` to delete it."
        )
        self.name = name


class NotInCatalogue(RegistryError):
    """The catalogue has no model of this name."""

    code = "not_in_catalogue"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        near = near_names(name, known)
        hint = f" Did you mean {near}?" if near else ""
        super().__init__(
            f"The catalogue has no model '{name[:100]}'.{hint} Run `zaffre models list` to see what"
            " it has; from a hub comes `hf:OWNER/REPOSITORY`."
        )


class NotMapped(NotInCatalogue):
    """The catalogue knows no open weights of a model of Azure's registries."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        near = near_names(model, known)
        hint = f" It knows {near}." if near else ""
        RegistryError.__init__(
            self,
            f"The catalogue does not know where the weights of Azure's model '{model[:100]}' are."
            f"{hint} Name them yourself: `model: hf:OWNER/REPOSITORY`.",
        )


class InvalidCatalogue(RegistryError):
    """The list of models is not what its schema says."""

    code = "invalid_catalogue"


class PullFailed(RegistryError):
    """Download, verification or preparation failed. Nothing was installed."""

    code = "pull_failed"


class HubUnavailable(PullFailed):
    """The hub may not be asked, cannot be reached, or is out of order."""

    code = "hub_unavailable"


class HubAccessDenied(PullFailed):
    """The hub wants to know who asks, or does not let this one in."""

    code = "hub_access_denied"


class NotOnHub(PullFailed):
    """The hub has no such repository, revision, file, or format."""

    code = "not_on_hub"


class SeveralModels(PullFailed):
    """The repository has more than one model, and none was chosen."""

    code = "several_models"


class FileRefused(PullFailed):
    """A file that could run code, or is not what its name says."""

    code = "file_refused"


def near_names(name: str, known: Sequence[str]) -> str:
    """Those of `known` that look like `name`, best first, as part of a sentence; "" for none."""
    lowered = {each.lower(): each for each in known}
    found = get_close_matches(name.lower()[:200], lowered, NEAR_NAMES, cutoff=0.5)
    return " or ".join(f"'{lowered[each]}'" for each in found)
