"""Zaffre's own form: settings, endpoints, deployments and defaults in one document."""

from msgspec.structs import replace

from zaffre.config.auth_section import AuthDeclaration, check_auth
from zaffre.config.documents import Document
from zaffre.config.fields import ShortDeployment, ShortEndpoint, ShortForm
from zaffre.config.gathering import Gathering, Spot, texts
from zaffre.config.plan_changes import Kept
from zaffre.config.serving import limits, serving_options, upstreams
from zaffre.config.settings import SETTINGS, ConfigurationError
from zaffre.core.plan import DeploymentPlan, EndpointPlan, ServingOptions
from zaffre.core.safety import ContentSafety


def add_short_form(gathering: Gathering, document: Document, fields: ShortForm) -> None:
    """All that a document in the short form declares."""
    _add_start_values(gathering, document, fields)
    for number, endpoint in enumerate(fields.endpoints):
        _add_endpoint(gathering, Spot(document, ("endpoints", number)), endpoint)
    for number, deployment in enumerate(fields.deployments):
        _add_deployment(gathering, Spot(document, ("deployments", number)), deployment)
    for operation, name in fields.defaults.items():
        spot = Spot(document, ("defaults", operation), {"name": ()})
        gathering.add_default(operation, name, spot)


def _add_start_values(gathering: Gathering, document: Document, fields: ShortForm) -> None:
    known = {setting.name for setting in SETTINGS}
    for name, value in fields.settings.items():
        spot = Spot(document, ("settings", name), {"name": ()})
        if name not in known:
            text = "there is no such setting; see docs/reference/settings.md."
            gathering.refuse(spot, (), text)
        gathering.add_setting(name, value, spot)
    if fields.auth is not None:
        spot = Spot(document, ("auth",), {"name": ()})
        gathering.set_auth(_auth(gathering, spot, fields.auth), spot)
    if fields.content_safety is not None:
        spot = Spot(document, ("content_safety",), {"name": ()})
        gathering.set_content_safety(_content_safety(gathering, spot, fields.content_safety), spot)


def _auth(gathering: Gathering, spot: Spot, section: AuthDeclaration) -> AuthDeclaration:
    """The section, checked, with absolute paths."""
    try:
        check_auth(section)
    except ConfigurationError as trouble:
        gathering.refuse(spot, (), trouble.message.removeprefix("auth."))
    keys = tuple(
        replace(key, key_file=gathering.path(key.key_file, spot, ("keys", number, "key_file")))
        for number, key in enumerate(section.keys)
    )
    issuers = tuple(
        replace(each, ca_file=gathering.path(each.ca_file, spot, ("issuers", number, "ca_file")))
        for number, each in enumerate(section.issuers)
    )
    return replace(section, keys=keys, issuers=issuers)


def _content_safety(gathering: Gathering, spot: Spot, section: ContentSafety) -> ContentSafety:
    """The section with an absolute path."""
    if section.remote is None:
        return section
    key_file = gathering.path(section.remote.key_file, spot, ("remote", "key_file"))
    return replace(section, remote=replace(section.remote, key_file=key_file))


def _add_endpoint(gathering: Gathering, spot: Spot, fields: ShortEndpoint) -> None:
    gathering.look_over(fields, spot)
    kind = fields.kind or ("managed" if fields.model is None else "serverless")
    if kind == "managed" and fields.model is not None:
        text = "a managed endpoint has its models in its deployments."
        gathering.refuse(spot, ("model",), text)
    unsaid: set[Kept] = set()
    if kind == "managed" and fields.traffic is None:
        unsaid.add("traffic")
    if kind == "managed" and fields.mirror_traffic is None:
        unsaid.add("mirror_traffic")
    endpoint = EndpointPlan(
        name=fields.name,
        kind=kind,
        auth_mode=gathering.auth_mode(fields.auth_mode, spot),
        traffic=dict(fields.traffic or {}),
        mirror_traffic=dict(fields.mirror_traffic or {}),
        hosts=fields.hosts,
        limits=limits(fields.limits),
        content_safety=fields.content_safety,
        tags=texts(fields.tags),
    )
    gathering.add_endpoint(endpoint, spot, frozenset(unsaid))
    if kind == "serverless" and fields.model is not None:
        deployment = DeploymentPlan(
            name=fields.name,
            endpoint=fields.name,
            model=gathering.model(fields.model, spot),
            serving=ServingOptions(),
        )
        gathering.add_deployment(deployment, spot)


def _add_deployment(gathering: Gathering, spot: Spot, fields: ShortDeployment) -> None:
    gathering.look_over(fields, spot)
    deployment = DeploymentPlan(
        name=fields.name,
        endpoint=fields.endpoint,
        model=gathering.model(fields.model, spot),
        serving=serving_options(gathering, spot, fields, fields),
        upstreams=upstreams(gathering, spot, fields),
        limits=limits(fields.limits),
        tags=texts(fields.tags),
    )
    gathering.add_deployment(deployment, spot)
