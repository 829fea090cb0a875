"""Keys of an endpoint on the command line, against a server that answers as the admin API does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from zaffre.cli import online_endpoint, serverless_endpoint
from zaffre.cli.admin_client import AdminFailed

FACTS = {"name": "chat-primary", "ending": "x7Qz", "created_at": 1795401218}
CHAT = {"name": "chat", "kind": "Managed", "scoring_uri": "/endpoints/chat"}
PHI = {"name": "phi", "model_id": "phi-3-mini", "scoring_uri": "/endpoints/phi"}


class AdminStandIn(BaseHTTPRequestHandler):
    """Two endpoints and their keys."""

    asked: list[tuple[str, str, bytes]]

    def do_GET(self) -> None:
        answers = {"/admin/endpoints/chat": CHAT, "/admin/endpoints/phi": PHI}
        if self.path.endswith("/keys"):
            self._answer({"primary": FACTS, "secondary": FACTS | {"name": "chat-secondary"}})
        else:
            self._answer(answers[self.path])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.command, self.path, body))
        key_type = json.loads(body)["key_type"]
        self._answer({"key_type": key_type, "key": f"zaffre-new-{key_type}"})

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("ZAFFRE_ADMIN_KEY", "a-key")
    AdminStandIn.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), AdminStandIn) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(app: typer.Typer, url: str, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--url", url])


def test_credentials_are_what_is_known_of_the_keys(url: str) -> None:
    """Given an endpoint, when its credentials are asked for, then both keys are described, and it
    is said how to get one that can be used."""
    done = run(online_endpoint.app, url, "get-credentials", "-n", "chat")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["primary"] == FACTS
    assert "zaffre online-endpoint regenerate-keys -n chat --key-type primary" in done.stderr


def test_a_new_key_is_shown_where_azures_scripts_look_for_it(url: str) -> None:
    """Given an endpoint, when a key is made again, then it stands under the name that Azure's
    answers have for it."""
    primary = ("regenerate-keys", "-n", "chat", "--query", "primaryKey", "-o", "tsv")
    assert run(online_endpoint.app, url, *primary).stdout == "zaffre-new-primary\n"

    secondary = ("regenerate-keys", "-n", "phi", "--key-type", "secondary")
    made = json.loads(run(serverless_endpoint.app, url, *secondary).stdout)

    assert made == {"secondaryKey": "zaffre-new-secondary"}
    assert AdminStandIn.asked == [
        ("POST", "/admin/endpoints/chat/keys", b'{"key_type":"primary"}'),
        ("POST", "/admin/endpoints/phi/keys", b'{"key_type":"secondary"}'),
    ]


def test_a_key_of_the_other_kind_of_endpoint_is_not_touched(url: str) -> None:
    """Given a serverless endpoint, when the managed kind's command names it, then it is refused,
    and no key is made."""
    done = run(online_endpoint.app, url, "regenerate-keys", "-n", "phi")
    assert isinstance(done.exception, AdminFailed)
    assert done.exception.message == (
        "'phi' is a serverless endpoint: use zaffre serverless-endpoint."
    )
    assert AdminStandIn.asked == []
