"""Gathering: what documents declare, with the place of everything that is wrong or strange."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_type_hints

from msgspec import Struct

from zaffre.config.auth_section import AuthDeclaration
from zaffre.config.documents import Document, InvalidDeclaration, Remark
from zaffre.config.fields import Ignored, Refused
from zaffre.config.msgspec_paths import Step, Steps
from zaffre.config.names import absolute, model_reference
from zaffre.config.plan_changes import Kept, PlanChange
from zaffre.config.plan_checks import PlanTrouble
from zaffre.core.calls import Operation
from zaffre.core.plan import AuthMode, DeploymentPlan, EndpointPlan
from zaffre.core.safety import ContentSafety

PieceKind = Literal["endpoint", "deployment", "default", "setting", "section"]

_AUTH_MODES: dict[str, AuthMode] = {
    "key": "key",
    "amltoken": "aml_token",
    "aadtoken": "aad_token",
    "aad": "aad_token",
}
_REFUSED_BECAUSE = {
    "code_configuration": "Zaffre runs models with its own engines and no scoring script; declare"
    " the model alone.",
    "compute": "Zaffre has no compute targets; declare a managed endpoint.",
    "resources": "this is Kubernetes'; declare a managed deployment with an instance_type.",
}
_IGNORED_BECAUSE = {
    "max_queue_wait_ms": "is ignored: as on Azure, where it is deprecated, request_timeout_ms"
    " counts the time in the queue too.",
    "egress_public_network_access": "is ignored: what Zaffre may reach is up to the machine.",
    "public_network_access": "is ignored: `settings: host` says who can reach Zaffre.",
    "app_insights_enabled": "is ignored: Zaffre has metrics and logs of its own.",
    "data_collector": "is ignored: Zaffre keeps no prompts and no answers.",
    "polling_interval": "is ignored: Zaffre does not change the number of instances by itself.",
    "target_utilization_percentage": "is ignored: Zaffre does not change the number of instances"
    " by itself.",
}


class Spot(Struct, frozen=True):
    """Where a piece of the plan was declared."""

    document: Document
    steps: Steps = ()
    renamed: dict[str, Steps] = {}
    """Fields of the piece that are called otherwise, or are elsewhere, in the document."""

    def of(self, field: tuple[Step, ...]) -> Steps:
        """The steps to a field of the piece."""
        if not field:
            return self.steps
        first = self.renamed.get(str(field[0]), (field[0],))
        return (*self.steps, *first, *field[1:])


class StartValues(Struct, frozen=True, kw_only=True):
    """What is read when a server starts, and not changed while it runs."""

    settings: dict[str, Any] = {}
    """Name -> value, for `load_settings`."""
    auth: AuthDeclaration = AuthDeclaration()
    content_safety: ContentSafety = ContentSafety()


class Declarations(Struct, frozen=True, kw_only=True):
    """All that documents declare, each piece valid in itself."""

    change: PlanChange
    start: StartValues
    warnings: tuple[Remark, ...]
    spots: dict[tuple[PieceKind, Hashable], Spot]

    @property
    def start_only(self) -> tuple[Remark, ...]:
        """Warnings for a server that runs already: what it does not take from these documents."""
        return tuple(
            spot.document.remark(spot.steps, "is not changed here: a server reads it at its start.")
            for (piece, _), spot in self.spots.items()
            if piece in ("setting", "section")
        )

    def located(self, trouble: PlanTrouble) -> Remark:
        """A trouble of the whole plan, at the place in the documents that it is about."""
        spot = self.spots.get((trouble.piece, trouble.key))
        if spot is None:  # a piece that was there before
            return Remark("the plan", "", str(trouble))
        return spot.document.remark(spot.of(trouble.field), trouble.text)


class Gathering:
    """What was declared so far. Troubles are gathered too, so that all are told at once."""

    def __init__(self) -> None:
        self.warnings: list[Remark] = []
        self.troubles: list[Remark] = []
        self._endpoints: list[EndpointPlan] = []
        self._deployments: list[DeploymentPlan] = []
        self._defaults: dict[Operation, str] = {}
        self._unsaid: dict[str, frozenset[Kept]] = {}
        self._settings: dict[str, Any] = {}
        self._auth = AuthDeclaration()
        self._content_safety = ContentSafety()
        self._spots: dict[tuple[PieceKind, Hashable], Spot] = {}

    def finish(self) -> Declarations:
        """Everything. Raises `InvalidDeclaration` with all troubles."""
        if self.troubles:
            raise InvalidDeclaration(_in_order(self.troubles))
        change = PlanChange(
            endpoints=tuple(self._endpoints),
            deployments=tuple(self._deployments),
            defaults=self._defaults,
            unsaid=self._unsaid,
        )
        return Declarations(
            change=change,
            start=StartValues(
                settings=self._settings,
                auth=self._auth,
                content_safety=self._content_safety,
            ),
            warnings=tuple(_in_order(self.warnings)),
            spots=self._spots,
        )

    def warn(self, spot: Spot, field: tuple[Step, ...], text: str) -> None:
        """Note something that works differently than written."""
        self.warnings.append(spot.document.remark(spot.of(field), text, at_key=True))

    def refuse(self, spot: Spot, field: tuple[Step, ...], text: str) -> None:
        """Note something that cannot be."""
        self.troubles.append(spot.document.remark(spot.of(field), text))

    def add_endpoint(
        self, endpoint: EndpointPlan, spot: Spot, unsaid: frozenset[Kept] = frozenset()
    ) -> None:
        """Take an endpoint in; the second of a name is refused."""
        key = endpoint.name.lower()
        if self._is_new("endpoint", key, endpoint.name, spot):
            self._endpoints.append(endpoint)
            self._unsaid[key] = unsaid

    def add_deployment(self, deployment: DeploymentPlan, spot: Spot) -> None:
        """Take a deployment in; the second of a name in an endpoint is refused."""
        if self._is_new("deployment", deployment.key, deployment.name, spot):
            self._deployments.append(deployment)

    def add_default(self, operation: str, name: str, spot: Spot) -> None:
        """Take a default in; `check_plan` knows whether there is such an operation."""
        if self._is_new("default", operation, operation, spot):
            self._defaults[operation] = name  # type: ignore[index]

    def add_setting(self, name: str, value: object, spot: Spot) -> None:
        """Take a setting in; the second of a name is refused."""
        if self._is_new("setting", name, name, spot):
            self._settings[name] = value

    def set_auth(self, section: AuthDeclaration, spot: Spot) -> None:
        """Take the section in; a second one is refused."""
        if self._is_new("section", "auth", "auth", spot):
            self._auth = section

    def set_content_safety(self, section: ContentSafety, spot: Spot) -> None:
        """Take the section in; a second one is refused."""
        if self._is_new("section", "content_safety", "content_safety", spot):
            self._content_safety = section

    def path(self, written: str | None, spot: Spot, field: tuple[Step, ...]) -> str | None:
        """The path written at a field, made absolute."""
        if written is None:
            return None
        try:
            return str(absolute(written, spot.document.base))
        except ValueError as nonsense:
            self.refuse(spot, field, str(nonsense))
            return written

    def model(self, written: str, spot: Spot) -> str:
        """What the model written at `spot` is called in the plan."""
        try:
            model, warning = model_reference(written, spot.document.base)
        except ValueError as nonsense:
            self.refuse(spot, ("model",), str(nonsense))
            return written
        if warning:
            self.warn(spot, ("model",), warning)
        return model

    def auth_mode(self, written: str, spot: Spot) -> AuthMode:
        """The mode, however it is written."""
        mode = _AUTH_MODES.get(written.lower().replace("_", ""))
        if mode is None:
            text = f"'{written}' is no way to authenticate; use key, aml_token or aad_token."
            self.refuse(spot, ("auth_mode",), text)
            return "key"
        return mode

    def look_over(self, fields: Struct, spot: Spot, inside: Steps = ()) -> None:
        """Warn of what is ignored and note what is refused, in all of a struct."""
        for name, step in _steps_of(type(fields)).items():
            value, field = getattr(fields, name), (*inside, step)
            if value is None:
                continue
            if name in _fields_marked(type(fields), Ignored):
                reason = _IGNORED_BECAUSE.get(name, "is ignored: it means nothing here.")
                self.warn(spot, field, reason)
            elif name in _fields_marked(type(fields), Refused):
                self.refuse(spot, field, _REFUSED_BECAUSE[name])
            for place, part in _structs_in(value):
                self.look_over(part, spot, (*field, *place))

    def _is_new(self, piece: PieceKind, key: Hashable, name: str, spot: Spot) -> bool:
        first = self._spots.get((piece, key))
        if first is None:
            self._spots[piece, key] = spot
            return True
        there = first.document.remark(first.of(("name",)), "")
        place = "" if there.line is None else f"; first at {there.file}:{there.line}"
        self.refuse(spot, ("name",), f"'{name}' is declared twice{place}.")
        return False


def _in_order(remarks: Sequence[Remark]) -> list[Remark]:
    """From the top of each file to its end; as they came where there are no lines."""
    files = {remark.file: number for number, remark in reversed(list(enumerate(remarks)))}
    return sorted(remarks, key=lambda r: (files[r.file], r.line or 0, r.column or 0))


def texts(values: Mapping[str, str | int | float | bool] | None) -> dict[str, str]:
    """Scalars as text, truth in lower case: what tags and variables are."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (values or {}).items()
    }


@cache
def _steps_of(kind: type[Struct]) -> dict[str, str]:
    """Attribute -> the field's name in a document."""
    return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))


@cache
def _fields_marked(kind: type[Struct], mark: Hashable) -> set[str]:
    hints = get_type_hints(kind, include_extras=True)
    return {name for name, hint in hints.items() if hint == mark}


def _structs_in(value: object) -> Iterator[tuple[Steps, Struct]]:
    """Structs to look into, with the steps to them."""
    if isinstance(value, Struct):
        yield (), value
    elif isinstance(value, tuple):
        yield from (((n,), part) for n, part in enumerate(value) if isinstance(part, Struct))
