"""Declarations: files and requests become pieces of the plan, and the plan they make."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from zaffre.config import azure, short_form
from zaffre.config.documents import (
    Document,
    InvalidDeclaration,
    Remark,
    plain_documents,
    read_yaml,
)
from zaffre.config.fields import (
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    ServerlessEndpoint,
    ShortForm,
)
from zaffre.config.gathering import Declarations, Gathering, StartValues
from zaffre.config.kinds import kind_of
from zaffre.config.plan_changes import PlanChange, merge, redeclare
from zaffre.config.plan_checks import InvalidPlan, check_plan
from zaffre.config.state import SavedPlan
from zaffre.core.plan import Plan

NO_PLAN = Plan()


class Declared(Struct, frozen=True, kw_only=True):
    """What a server is to run, from its files and from what was changed while it ran."""

    plan: Plan
    said: Plan
    """What the files (or the default in their place) say: to be saved with the plan."""
    start: StartValues
    warnings: tuple[Remark, ...]

    @property
    def saved(self) -> SavedPlan:
        """What `PlanStore.save` takes."""
        return SavedPlan(self.plan, self.said)


def read_files(
    paths: Sequence[Path], saved: SavedPlan | None = None, default: Plan = NO_PLAN
) -> Declared:
    """The plan of a server that is started, or reloaded, with these files.

    `saved` is the plan of the run before: what was changed then stays as long as the files say the
    same as then. `default` stands in for files that declare no endpoint and no deployment. Raises
    `InvalidDeclaration` with file, line and column of everything that is wrong.
    """
    declared = gather([document for path in paths for document in read_yaml(path)])
    now = declared.change
    if not now.endpoints and not now.deployments:
        now = PlanChange(
            endpoints=default.endpoints,
            deployments=default.deployments,
            defaults=default.defaults | now.defaults,
        )
    before = saved or SavedPlan(NO_PLAN, NO_PLAN)
    plan = redeclare(before.plan, before.said, now)
    _check(plan, declared)
    return Declared(
        plan=plan,
        said=merge(NO_PLAN, now),
        start=declared.start,
        warnings=declared.warnings,
    )


def read_documents(
    values: Sequence[object], where: str = "request", base: Path | None = None
) -> Declarations:
    """What parsed documents, as from JSON, declare: of either form and any kind.

    Troubles are located by `where` and a path such as `traffic.blue`, with `[1].` before it where
    there are several documents. Relative paths start at `base`; without one they are refused.
    Raises `InvalidDeclaration`.
    """
    return gather(plain_documents(values, where, base))


def gather(documents: Sequence[Document]) -> Declarations:
    """What documents declare. Raises `InvalidDeclaration` with all that is wrong with them."""
    gathering = Gathering()
    for document in documents:
        try:
            _add(gathering, document)
        except InvalidDeclaration as invalid:
            gathering.troubles.extend(invalid.troubles)
    return gathering.finish()


def apply(plan: Plan, declared: Declarations) -> Plan:
    """The whole new plan: created or replaced by name. Raises `InvalidDeclaration`."""
    changed = merge(plan, declared.change)
    _check(changed, declared)
    return changed


def _add(gathering: Gathering, document: Document) -> None:
    kind = kind_of(document)
    if kind is ManagedOnlineEndpoint:
        azure.add_endpoint(gathering, document, document.read(ManagedOnlineEndpoint))
    elif kind is ManagedOnlineDeployment:
        azure.add_deployment(gathering, document, document.read(ManagedOnlineDeployment))
    elif kind is ServerlessEndpoint:
        azure.add_serverless(gathering, document, document.read(ServerlessEndpoint))
    else:
        short_form.add_short_form(gathering, document, document.read(ShortForm))


def _check(plan: Plan, declared: Declarations) -> None:
    try:
        check_plan(plan)
    except InvalidPlan as invalid:
        located = [declared.located(trouble) for trouble in invalid.troubles]
        raise InvalidDeclaration(located) from None
