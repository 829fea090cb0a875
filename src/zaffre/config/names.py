"""Names that declarations may use, and how Azure writes the name of a model."""

import re
from pathlib import Path

ENDPOINT_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30})[A-Za-z0-9]")
"""Azure's rule for online endpoints and their deployments: 3 to 32 characters, a letter first, then
letters, digits and hyphens, no hyphen at the end (the Python SDK's `EndpointConfigurations`, and
the limits table of "Manage and increase quotas" in Azure Machine Learning's documentation)."""
SERVERLESS_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,50}[A-Za-z0-9])?")
"""Azure's rule for serverless endpoints: up to 52 characters (REST API, Serverless Endpoints -
Create Or Update). No hyphen at the end here either: the name becomes part of a host name."""
ROOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Zaffre's rule for deployments at the server's root, which Azure does not have."""
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)

PATH_PREFIX = "path:"
HUB_PREFIX = "hf:"
UPSTREAM_MODEL = "upstream:"

MAX_HUB_REFERENCE_CHARS = 400

_HUB = re.compile(
    r"hf:[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?"
    r"(?:@[A-Za-z0-9][\w./-]{0,99})?(?::[^\x00-\x1f\x7f]+)?",
    re.ASCII,
)
_STORED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ASSET = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,254})"
_AZURE_FORMS = tuple(
    re.compile(form + r"/?", re.IGNORECASE)
    for form in (
        rf"azureml:{_ASSET}(?::(?P<version>[^:/@\s]+)|@(?P<label>[^:/@\s]+))?",
        rf"(?:azureml:)?(?P<registry>azureml://registries/[\w.-]+/models/){_ASSET}"
        r"(?:/versions/(?P<version>[^/\s]+)|/labels/(?P<label>[^/\s]+))?",
        rf"(?:azureml:)?azureml://(?:locations|subscriptions)/\S+/workspaces/[^/\s]+/models/{_ASSET}"
        r"(?:/versions/(?P<version>[^/\s]+)|/labels/(?P<label>[^/\s]+))?",
        rf"(?:azureml:)?/subscriptions/\S+/models/{_ASSET}(?:/versions/(?P<version>[^/\s]+))?",
    )
)


def model_reference(written: str, base: Path | None) -> tuple[str, str]:
    """What `written` means as `DeploymentPlan.model`, and a warning, empty when there is none.

    Relative paths start at `base`. Raises `ValueError` with a sentence when it means nothing here.
    """
    if written.startswith(PATH_PREFIX):
        return PATH_PREFIX + str(absolute(written.removeprefix(PATH_PREFIX), base)), ""
    if written.startswith(HUB_PREFIX):
        if not _HUB.fullmatch(written) or len(written) > MAX_HUB_REFERENCE_CHARS:
            raise ValueError("write hf:OWNER/REPOSITORY[@REVISION][:FILE].")
        return written, ""
    if written in (UPSTREAM_MODEL, UPSTREAM_MODEL.rstrip(":")):
        return UPSTREAM_MODEL, ""
    for form in _AZURE_FORMS:
        asset = form.fullmatch(written)
        if asset is not None:
            return _asset_model(asset), _version_warning(asset)
    if not _STORED.fullmatch(written):
        raise ValueError(
            f"'{written}' is no model: use the name of one in `zaffre models list`, path:FILE,"
            " hf:OWNER/REPOSITORY, azureml:NAME:VERSION, azureml://registries/…/models/…, or"
            " upstream."
        )
    return written, ""


def absolute(path: str, base: Path | None) -> Path:
    """The path from `base`; `~` is the user's home. Raises `ValueError` when it stays relative.

    Links are not followed: a file's name tells its format, what it links to may have none.
    """
    written = path.strip()
    if not written or any(char < " " for char in written):
        raise ValueError("a path is missing.")
    try:
        expanded = Path(written).expanduser()
    except RuntimeError:
        raise ValueError(f"'{written}' starts in the home of a user who is not here.") from None
    if expanded.is_absolute():
        return expanded
    if base is None:
        raise ValueError(f"'{written}' is relative, and nobody knows to what: write all of it.")
    return base / expanded


def _asset_model(asset: re.Match[str]) -> str:
    """A registry's model by its id, which the catalogue knows; a workspace's by its own name."""
    registry = asset.groupdict().get("registry")
    return f"{registry}{asset['name']}" if registry else asset["name"].lower()


def _version_warning(asset: re.Match[str]) -> str:
    version = asset.groupdict().get("version")
    if version is None:
        return ""
    return (
        f"version {version} is not looked at: the model is what `zaffre models show"
        f" {_asset_model(asset)}` shows."
    )
