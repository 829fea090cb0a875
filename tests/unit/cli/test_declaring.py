"""Declaring: files and options make one document, and the server's words come back to the file."""

import json
from pathlib import Path

import httpx2
import pytest

from zaffre.cli.admin_client import AdminClient, AdminFailed
from zaffre.cli.declaring import draft, prepare, read_all, redraft
from zaffre.config.fields import ManagedOnlineDeployment, ManagedOnlineEndpoint
from zaffre.config.settings import ConfigurationError

ENDPOINT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: chat
description: of Azure alone
traffic:
  blue: 90
"""
BLUE = """\
name: blue
endpoint_name: chat
model: path:weights/model.gguf
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    endpoint, blue = tmp_path / "endpoint.yml", tmp_path / "blue.yml"
    endpoint.write_text(ENDPOINT)
    blue.write_text(BLUE)
    return endpoint, blue


def answering(status: int, body: object, seen: list[httpx2.Request]) -> AdminClient:
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(status, json=body)

    return AdminClient("http://z", "k", "K", transport=httpx2.MockTransport(answer))


def test_options_go_before_the_file(files: tuple[Path, Path]) -> None:
    """Given a file, a name and --set, when they make a document, then each has its say."""
    document = draft(
        ManagedOnlineEndpoint,
        files[0],
        {"name": "talk", "auth_mode": None},
        ["tags.team=search", "traffic.blue=100"],
    )
    assert document.value["name"] == "talk"
    assert document.value["traffic"] == {"blue": 100}
    assert document.value["tags"] == {"team": "search"}
    assert "auth_mode" not in document.value


def test_options_alone_are_a_document_too() -> None:
    document = draft(ManagedOnlineDeployment, None, {"name": "blue"}, ["endpoint_name=chat"])
    assert document.value == {"name": "blue", "endpoint_name": "chat"}


def test_a_file_of_another_kind_is_for_another_command(files: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigurationError) as failed:
        draft(ManagedOnlineEndpoint, files[1], {}, [])
    assert failed.value.message == (
        f"{files[1]}:1:1: this is for another command: zaffre online-deployment takes it."
    )


def test_several_documents_are_for_apply(tmp_path: Path) -> None:
    file = tmp_path / "both.yml"
    file.write_text(f"{ENDPOINT}---\n{BLUE}")
    with pytest.raises(ConfigurationError, match="zaffre apply -f"):
        draft(ManagedOnlineEndpoint, file, {}, [])
    file.write_text("- a\n- list\n")
    with pytest.raises(ConfigurationError, match=r"both.yml:1:1: must be a mapping"):
        draft(ManagedOnlineEndpoint, file, {}, [])


def test_what_the_server_shows_can_be_declared_again() -> None:
    """Given a deployment that failed, when a field is set, then what only servers say is gone."""
    shown = {"name": "blue", "endpoint_name": "chat", "model": "echo", "instance_count": 1}
    filled = {"provisioning_state": "Failed", "provisioning_error": "no", "scoring_uri": None}
    document = redraft(ManagedOnlineDeployment, shown | filled, ["instance_count=2"])
    assert document.value == shown | {"instance_count": 2}


def test_troubles_of_a_file_have_their_place(files: tuple[Path, Path]) -> None:
    """Given a file with a wrong value, when it is prepared with another name, then the place is
    that in the file."""
    files[0].write_text(f"{ENDPOINT}auth_mode: nonsense\n")
    with pytest.raises(ConfigurationError) as failed:
        prepare([draft(ManagedOnlineEndpoint, files[0], {"name": "talk"}, [])])
    assert failed.value.message.startswith(f"{files[0]}:6:12: auth_mode: 'nonsense'")


def test_paths_are_sent_whole(files: tuple[Path, Path]) -> None:
    """Given a path that starts at the file's folder, when it is sent, then all of it is."""
    seen: list[httpx2.Request] = []
    with answering(200, {"endpoints": [], "deployments": [], "warnings": []}, seen) as client:
        prepare(read_all(files[1:])).send(client)
    [sent] = json.loads(seen[0].content)["documents"]
    assert sent["model"] == f"path:{files[1].parent}/weights/model.gguf"


def test_troubles_that_only_the_server_sees_get_their_place(files: tuple[Path, Path]) -> None:
    """Given two files, when the server refuses what they make together, then every line of it that
    is about a document names the file, and others stay as they are."""
    message = "\n".join(
        [
            "documents: [0].traffic.blue: is no deployment.",
            "documents: [1].endpoint_name: there is no endpoint.",
            "documents: [7].name: is in no document.",
            "the plan: endpoint 'old': something else.",
        ]
    )
    body = {"error": {"code": "invalid_request", "message": message}}
    with answering(400, body, []) as client, pytest.raises(AdminFailed) as failed:
        prepare(read_all(files)).send(client)
    endpoint, blue = files
    assert failed.value.message.splitlines() == [
        f"{endpoint}:5:9: traffic.blue: is no deployment.",
        f"{blue}:2:16: endpoint_name: there is no endpoint.",
        "documents: [7].name: is in no document.",
        "the plan: endpoint 'old': something else.",
    ]


def test_a_warning_is_told_once(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Given a warning that is seen here and by the server, when documents are sent, then it is told
    once, with its line; one that only the server has is told too."""
    here = "documents: description: is ignored: it means nothing here."
    there = "documents: name: the server knows better."
    body = {"endpoints": [], "deployments": [], "warnings": [here, there]}
    with answering(200, body, []) as client:
        prepare(read_all(files[:1])).send(client)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {files[0]}:3:1: description: is ignored: it means nothing here.",
        f"warning: {files[0]}:2:7: name: the server knows better.",
    ]
