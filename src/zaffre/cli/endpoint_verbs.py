"""What both kinds of endpoint can be told: the verbs that `az ml` has for each of them."""

import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from zaffre.cli.admin_client import AdminClient, AdminFailed, Shown, endpoint_path
from zaffre.cli.declaring import prepare
from zaffre.config.documents import Document
from zaffre.config.fields import ManagedOnlineEndpoint, ServerlessEndpoint
from zaffre.config.kinds import DocumentKind

KeyType = Literal["primary", "secondary"]


class EndpointVerbs(NamedTuple):
    """One kind of endpoint on the command line."""

    command: str
    kind: Literal["managed", "serverless"]
    document: DocumentKind
    columns: Sequence[str]
    """Of a table."""


MANAGED = EndpointVerbs(
    "online-endpoint",
    "managed",
    ManagedOnlineEndpoint,
    ("name", "auth_mode", "traffic", "mirror_traffic", "scoring_uri", "provisioning_state"),
)
SERVERLESS = EndpointVerbs(
    "serverless-endpoint",
    "serverless",
    ServerlessEndpoint,
    ("name", "model_id", "auth_mode", "scoring_uri", "provisioning_state"),
)


def create(client: AdminClient, verbs: EndpointVerbs, document: Document) -> Shown:
    """A new endpoint; one that exists is refused, as Azure's `create` does."""
    request = prepare([document])
    name = request.declared.change.endpoints[0].name
    if client.find(endpoint_path(name)) is not None:
        raise AdminFailed(
            f"endpoint '{name}' exists already; change it with: zaffre {verbs.command} update"
        )
    return with_address(client, request.send(client)["endpoints"][0])


def replace(client: AdminClient, verbs: EndpointVerbs, document: Document) -> Shown:
    """An endpoint that is there, as `document` has it."""
    request = prepare([document])
    show(client, verbs, request.declared.change.endpoints[0].name)
    return with_address(client, request.send(client)["endpoints"][0])


def show(client: AdminClient, verbs: EndpointVerbs, name: str) -> Shown:
    """An endpoint. Raises `AdminFailed` for one of the other kind too."""
    shown = client.get(endpoint_path(name))
    other = MANAGED if verbs is SERVERLESS else SERVERLESS
    if ("model_id" in shown) != (verbs is SERVERLESS):
        raise AdminFailed(f"'{name}' is a {other.kind} endpoint: use zaffre {other.command}.")
    return with_address(client, shown)


def list_all(client: AdminClient, verbs: EndpointVerbs) -> list[Shown]:
    """All endpoints of the kind."""
    return [with_address(client, e) for e in client.get("endpoints", {"kind": verbs.kind})]


def delete(client: AdminClient, verbs: EndpointVerbs, name: str) -> None:
    """Remove an endpoint with its deployments; calls that they are on end first."""
    show(client, verbs, name)
    client.change("DELETE", endpoint_path(name))


def credentials(client: AdminClient, verbs: EndpointVerbs, name: str) -> Shown:
    """What is known of an endpoint's keys. The server keeps no key that it could show."""
    show(client, verbs, name)
    facts: Shown = client.get(f"{endpoint_path(name)}/keys")
    if "primary" in facts:
        print(
            "A key is shown once, when it is made; another one:"
            f" zaffre {verbs.command} regenerate-keys -n {name} --key-type primary",
            file=sys.stderr,
        )
    return facts


def regenerate(client: AdminClient, verbs: EndpointVerbs, name: str, key_type: KeyType) -> Shown:
    """A new key in place of one of the two, under the name that Azure's answers have for it."""
    show(client, verbs, name)
    made = client.change("POST", f"{endpoint_path(name)}/keys", {"key_type": key_type})
    return {f"{made['key_type']}Key": made["key"]}


def with_address(client: AdminClient, shown: Shown) -> Shown:
    """An endpoint with the whole address that clients are given."""
    return shown | {"scoring_uri": f"{client.url}{shown['scoring_uri']}"}
