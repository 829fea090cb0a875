"""The table of deployments: names to models, and the default of each operation."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from zaffre.core.calls import Operation
from zaffre.core.capabilities import Capabilities
from zaffre.core.cards import ModelCard
from zaffre.core.errors import NoModel, OperationNotSupported, UnknownModel
from zaffre.routing.replicas import Replica


class Deployment(Struct):
    """A model under a name. `capabilities` come from its engine, once one has started."""

    name: str
    card: ModelCard
    engine: str
    replica: Replica
    created: int
    """Unix seconds."""
    capabilities: Capabilities | None = None


class Selector(Struct, frozen=True):
    """What a request says about the model it wants; the first that is there counts."""

    deployment: str | None = None
    """A deployment that must exist: in the path, or in the header `azureml-model-deployment`."""
    model: str | None = None
    """The body's `model`, or `/info?model=`."""
    mesh_model: str | None = None
    """Header `x-ms-model-mesh-model-name`."""

    @property
    def name(self) -> str | None:
        """The name asked for, if any."""
        return self.deployment or self.model or self.mesh_model


class Table:
    """All deployments. Names are not case-sensitive (contract, section 9 row 3)."""

    def __init__(
        self, deployments: Sequence[Deployment], defaults: Mapping[Operation, str] | None = None
    ) -> None:
        self._by_name = {deployment.name.lower(): deployment for deployment in deployments}
        self._defaults = {op: name.lower() for op, name in (defaults or {}).items()}

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
        """The deployments, in the order of their declaration."""
        return iter(self._by_name.values())

    def resolve(self, selector: Selector, operation: Operation) -> Deployment:
        """The deployment to answer `operation`.

        Raises `UnknownModel`, `NoModel`, or `OperationNotSupported` when none here can do it.
        """
        deployment = self._named(selector) or self._default(operation)
        if operation not in deployment.card.operations:
            raise OperationNotSupported(operation, deployment.name, deployment.card.operations)
        return deployment

    def describe(self, selector: Selector) -> Deployment:
        """The deployment that `/info` tells about. Raises `UnknownModel` or `NoModel`."""
        found = self._named(selector)
        if found is not None:
            return found
        for operation in ("chat", "complete", "embed", "embed_images"):
            if (name := self._defaults.get(operation)) in self._by_name:
                return self._by_name[name]
        if not self._by_name:
            raise NoModel
        return next(iter(self._by_name.values()))

    def _named(self, selector: Selector) -> Deployment | None:
        name = selector.name
        if name is None:
            return None
        found = self._by_name.get(name.lower())
        if found is None:
            if len(self._by_name) == 1 and selector.deployment is None:
                # One model: any `model` means it (contract, section 4.1).
                return next(iter(self._by_name.values()))
            raise UnknownModel(name)
        return found

    def _default(self, operation: Operation) -> Deployment:
        name = self._defaults.get(operation)
        if name is not None and name in self._by_name:
            return self._by_name[name]
        able = [d for d in self._by_name.values() if operation in d.card.operations]
        if able:
            return able[0]
        if len(self._by_name) == 1:
            return next(iter(self._by_name.values()))
        if not self._by_name:
            raise NoModel
        known = {known for d in self._by_name.values() for known in d.card.operations}
        raise OperationNotSupported(operation, None, sorted(known))
