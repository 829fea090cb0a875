"""What can go wrong with model files, by cause; every message says what to do next.

RegistryError
├── InvalidModelName     not a name the store would keep
├── ModelNotInstalled    no such model in the store
├── ModelDamaged         its folder is incomplete or its card unreadable
├── NotInCatalogue       nobody knows where to get it
├── InvalidCatalogue     the list of models is not what its schema says
└── PullFailed           download, verification or preparation failed; nothing was installed
"""

from collections.abc import Sequence

from zaffre.core.errors import ZaffreError


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
        super().__init__(
            f"The catalogue has no model '{name[:100]}'; it has: {', '.join(known)}."
            " Run `zaffre models list` to see them all."
        )


class InvalidCatalogue(RegistryError):
    """The list of models is not what its schema says."""

    code = "invalid_catalogue"


class PullFailed(RegistryError):
    """Download, verification or preparation failed. Nothing was installed."""

    code = "pull_failed"
