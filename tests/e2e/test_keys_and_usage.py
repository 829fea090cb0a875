"""Who may call, how much, and what it cost: keys, tokens, quotas and the ledger in real servers."""

import contextlib
import http.client
import json
import os
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from servers import REQUEST_LIMIT_S, ZAFFRE, RunningServer, running_server

PATIENCE_S = 20
MINUTE_S = 60
CLOCK_SLACK_S = 0.5
"""Servers count by another clock than tests do."""
Answered = tuple[int, Any, Mapping[str, str]]
CHAT = "/chat/completions"


def said(text: str = "one two three", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def zaffre(home: Path, *arguments: str) -> Any:
    """What a command prints as JSON, run beside the server."""
    done = subprocess.run(
        [ZAFFRE, *arguments, "-o", "json"],
        env={**os.environ, "ZAFFRE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@contextlib.contextmanager
def serving(folder: Path, configuration: str) -> Iterator[RunningServer]:
    """A server with this configuration, in a home that outlives it."""
    (folder / "zaffre.yaml").write_text(configuration)
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as server:
        yield server


# --- the bill after kill -9 ------------------------------------------------------------------

BILL = "deployments: [{name: echo, model: echo}]\n"


def test_the_bill_adds_up_after_kill_9(tmp_path: Path):
    """Given requests that were answered and a stream that is going on, when the server is killed
    and another one starts, then usage has each of them once, the stream as far as it came."""
    home = tmp_path / "home"
    with serving(tmp_path, BILL) as server:
        key = zaffre(home, "keys", "create", "till")["key"]
        for _ in range(3):
            assert server.ask("POST", CHAT, said("one two three four"), api_key=key)[0] == 200
        with stream(server, key, "/slow 20 " + "word " * 500) as lines:
            read = [next(lines) for _ in range(10)]
            tokens = checkpointed(home)
            server.process.kill()
            server.process.wait(PATIENCE_S)
            read += list(lines)
    assert not any(b"[DONE]" in line for line in read)

    for _ in range(2):  # once, however often it starts
        with serving(tmp_path, BILL) as server:
            [row] = [row for row in zaffre(home, "usage") if row["name"] == "till"]
            asked = server.get("/admin/usage?by=key")
            assert row == next(one for one in asked if one["name"] == "till")
    assert (row["requests"], row["errors"]) == (4, 1)
    assert row["prompt_tokens"] == 3 * 4
    chunks = sum(line.startswith(b"data: {") for line in read)
    assert 3 * 4 + tokens <= row["completion_tokens"] <= 3 * 4 + max(tokens, chunks)


def test_a_server_without_a_ledger_keeps_nothing(tmp_path: Path):
    """Given a server without a ledger, when requests are answered, then no file has them, and
    whoever asks for the usage is told why there is none."""
    with serving(tmp_path, f"settings: {{ledger_url: off}}\n{BILL}") as server:
        assert server.ask("POST", CHAT, said())[0] == 200
        status, body, _ = server.ask("GET", "/admin/usage?by=model")
    assert (status, body["code"]) == (400, "invalid_request")
    assert "ledger_url" in body["message"]
    assert not (tmp_path / "home" / "usage.db").exists()


@contextlib.contextmanager
def stream(server: RunningServer, key: str, text: str) -> Iterator[Iterator[bytes]]:
    """The lines of a streamed answer, for as long as they come."""

    def lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            while line := response.readline():
                if line.strip():
                    yield line

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=REQUEST_LIMIT_S)
    with contextlib.closing(connection):
        body = json.dumps(said(text, stream=True, max_tokens=600))
        connection.request("POST", CHAT, body, {"api-key": key})
        response = connection.getresponse()
        assert response.status == 200
        yield lines(response)


def checkpointed(home: Path) -> int:
    """How many tokens of the request that is open are on disk, once there are some."""
    end = time.monotonic() + PATIENCE_S
    query = "SELECT max(completion_tokens) FROM open_requests"
    while time.monotonic() < end:
        with contextlib.closing(sqlite3.connect(home / "usage.db")) as file:
            tokens = file.execute(query).fetchone()[0] or 0
        if tokens > 0:
            return int(tokens)
        time.sleep(0.02)
    raise AssertionError("nothing was checkpointed")


# --- quotas ----------------------------------------------------------------------------------

LIMITED = """\
endpoints:
  - {name: shop, traffic: {blue: 100}, limits: {requests_per_minute: 2}}
  - {name: single, traffic: {one: 100}, limits: {concurrent_requests: 1}}
deployments:
  - {name: narrow, model: echo, limits: {requests_per_minute: 2, tokens_per_minute: 900}}
  - {name: wide, model: echo}
  - {name: blue, endpoint: shop, model: echo}
  - {name: one, endpoint: single, model: echo}
"""


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[RunningServer]:
    with serving(tmp_path, LIMITED) as server:
        yield server


class Minute:
    """A minute that began with the first request of a limit of two: `ask` sends that."""

    def __init__(self, ask: Callable[[], Answered]) -> None:
        self._began_after = time.monotonic()
        self.first = ask()
        self._began_before = time.monotonic()
        assert self.first[0] == 200, self.first

    def check_refuses(self, ask: Callable[[], Answered]) -> Answered:
        """What is asked is refused with a `Retry-After` that ends when the minute does: not before
        there is room, and at most the second later that whole seconds need."""
        asked_at = time.monotonic()
        status, body, headers = refused = ask()
        told_at = time.monotonic()
        assert status == 429, body
        wait_s = int(headers["retry-after"])
        # A limit looks back over 60 whole seconds of the clock: the first may be nearly over.
        assert told_at + wait_s >= self._began_after + MINUTE_S - 1 - CLOCK_SLACK_S
        assert asked_at + wait_s <= self._began_before + MINUTE_S + 1 + CLOCK_SLACK_S
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(headers["x-ratelimit-reset-requests"]) <= MINUTE_S + 1
        return refused


def test_a_deployments_limit_is_one_for_all_dialects(limited: RunningServer):
    """Given a deployment with two requests a minute, when a third comes in any dialect, then it is
    refused in that dialect's words, with the time after which it would fit; others go on."""
    body = said(model="narrow", max_tokens=5)
    minute = Minute(lambda: limited.ask("POST", CHAT, body))
    headers = minute.first[2]
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert headers["x-ratelimit-limit-tokens"] == "900"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 900
    assert limited.ask("POST", "/openai/v1/chat/completions", body)[0] == 200

    azure, streamed, deployment, openai = (
        minute.check_refuses(partial(limited.ask, "POST", path, fields))
        for path, fields in (
            (CHAT, body),
            (CHAT, body | {"stream": True}),
            ("/openai/deployments/narrow/chat/completions", said()),
            ("/openai/v1/chat/completions", body),
        )
    )
    assert azure[1]["code"] == azure[1]["error"]["code"] == azure[2]["x-ms-error-code"]
    assert azure[1]["code"] == streamed[1]["code"] == "quota_exceeded"
    assert deployment[1]["error"]["code"] == "429"
    assert openai[1]["error"]["code"] == "rate_limit_exceeded"
    assert limited.ask("POST", CHAT, said(model="wide"))[0] == 200


def test_tokens_are_reserved_and_given_back(limited: RunningServer):
    """Given 900 tokens a minute, when a request may use more, then it is refused for good; and one
    that reserved nearly all of them leaves what it did not use to the next."""
    status, body, headers = limited.ask("POST", CHAT, said(model="narrow", max_tokens=1000))
    assert (status, body["code"]) == (400, "request_above_quota")
    assert "retry-after" not in headers
    for _ in range(2):
        assert limited.ask("POST", CHAT, said(model="narrow", max_tokens=850))[0] == 200


def test_an_endpoints_limit_counts_all_its_keys(limited: RunningServer, tmp_path: Path):
    """Given an endpoint with two requests a minute, when two keys have used one each, then neither
    gets a third in; outside the endpoint they do."""
    home = tmp_path / "home"
    keys = [zaffre(home, "keys", "create", name)["key"] for name in ("a", "b")]
    path = f"/endpoints/shop{CHAT}"
    minute = Minute(lambda: limited.ask("POST", path, said(), api_key=keys[0]))
    assert limited.ask("POST", path, said(), api_key=keys[1])[0] == 200
    for key in keys:
        minute.check_refuses(partial(limited.ask, "POST", path, said(), api_key=key))
        assert limited.ask("POST", CHAT, said(model="wide"), api_key=key)[0] == 200


def test_a_keys_limit_is_its_own(limited: RunningServer, tmp_path: Path):
    """Given a key with a limit, when it has used it, then it is refused everywhere and others are
    not; rotated, it is still the same key to the quota."""
    home = tmp_path / "home"
    options = ("--requests-per-minute", "2")
    bounded = zaffre(home, "keys", "create", "bounded", *options)["key"]
    minute = Minute(lambda: limited.ask("POST", CHAT, said(), api_key=bounded))
    elsewhere = "/openai/deployments/wide/chat/completions"
    assert limited.ask("POST", elsewhere, said(), api_key=bounded)[0] == 200
    minute.check_refuses(lambda: limited.ask("POST", CHAT, said(), api_key=bounded))
    assert limited.ask("POST", CHAT, said(model="wide"))[0] == 200

    renewed = zaffre(home, "keys", "rotate", "bounded")["key"]
    assert limited.ask("POST", CHAT, said(), api_key=renewed)[0] == 429
    by_api = {"name": "api", "limits": {"requests_per_minute": 1}}
    _, made, _ = limited.ask("POST", "/admin/keys", by_api)
    found = [limited.ask("POST", CHAT, said(), api_key=made["key"])[0] for _ in range(2)]
    assert found == [200, 429]


def test_one_at_a_time_means_one(limited: RunningServer):
    """Given an endpoint for one request at a time, when a second comes meanwhile, then it is told
    to wait a second; after the first has gone, in whatever way, there is room."""
    path = f"/endpoints/single{CHAT}"
    connection = http.client.HTTPConnection("127.0.0.1", limited.port, timeout=REQUEST_LIMIT_S)
    body = json.dumps(said("/slow 50 " + "word " * 400, stream=True))
    connection.request("POST", path, body, {"api-key": limited.key})
    assert connection.getresponse().read(10)

    status, _, headers = limited.ask("POST", path, said())
    assert (status, headers["retry-after"]) == (429, "1")

    connection.close()
    end = time.monotonic() + PATIENCE_S
    while (status := limited.ask("POST", path, said())[0]) == 429 and time.monotonic() < end:
        time.sleep(0.02)
    assert status == 200


# --- which credential counts where ---------------------------------------------------------------

MODES = """\
endpoints:
  - {{name: keyed, traffic: {{red: 100}}}}
  - {{name: tokened, auth_mode: aml_token, traffic: {{green: 100}}}}
  - {{name: entra, auth_mode: aad_token, traffic: {{blue: 100}}}}
deployments:
  - {{name: red, endpoint: keyed, model: echo}}
  - {{name: green, endpoint: tokened, model: echo}}
  - {{name: blue, endpoint: entra, model: echo}}
  - {{name: root, model: echo}}
auth:
  issuers:
    - name: dev
      issuer: https://issuer.example
      jwks_url: http://127.0.0.1:{port}/keys
      rules: [{{roles: [call]}}]
"""


EVERYWHERE = ("issuer's token", "endpoint token as key")
"""Refused because of what they are, not because of where."""


class Issuer:
    """Signs tokens, and shows its public key to whoever asks."""

    def __init__(self) -> None:
        self._key = generate_private_key(65537, 2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        self.keys = {"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}

    def token(self) -> str:
        claims = {
            "iss": "https://issuer.example",
            "aud": "https://ml.azure.com",
            "sub": "somebody",
            "roles": ["call"],
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
        }
        return jwt.encode(claims, self._key, "RS256", {"kid": "one"})

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """Its port, while it runs."""
        content = json.dumps(self.keys).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Tests read no log of it."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()


def test_an_endpoint_takes_its_kind_of_credential(tmp_path: Path):
    """Given endpoints for keys, for our tokens and for an issuer's, when each kind of credential is
    shown to each, then only its own opens it, and the others get 401; the server's keys open
    all."""
    issuer, home = Issuer(), tmp_path / "home"
    endpoints = ("keyed", "tokened", "entra")
    with issuer.listening() as port, serving(tmp_path, MODES.format(port=port)) as server:
        own = {name: zaffre(home, "keys", "rotate", f"{name}/primary")["key"] for name in endpoints}
        _, token, _ = server.ask("POST", "/admin/endpoints/tokened/token", {})
        shown = {
            **{f"key of {name}": {"api_key": key} for name, key in own.items()},
            **{
                f"key of {name} as bearer": {"api_key": "", "authorization": f"Bearer {key}"}
                for name, key in own.items()
            },
            "endpoint token": {"api_key": "", "authorization": f"Bearer {token['accessToken']}"},
            "endpoint token as key": {"api_key": token["accessToken"]},
            "issuer's token": {"api_key": "", "authorization": f"Bearer {issuer.token()}"},
            "server's key": {},
        }
        opened = {}
        for what, headers in shown.items():
            answers = {
                name: server.ask("POST", f"/endpoints/{name}{CHAT}", said(), **headers)
                for name in endpoints
            }
            opened[what] = {name for name, (status, _, _) in answers.items() if status == 200}
            for name, (status, _, told) in answers.items():
                knows = what.startswith(f"key of {name}") or what in EVERYWHERE
                if status != 200 and knows:  # else there is no such endpoint
                    assert status == 401
                    assert told["www-authenticate"].startswith("Bearer")
    assert opened == {
        "key of keyed": {"keyed"},
        "key of keyed as bearer": {"keyed"},
        "key of tokened": set(),
        "key of tokened as bearer": set(),
        "key of entra": set(),
        "key of entra as bearer": set(),
        "endpoint token": {"tokened"},
        "endpoint token as key": set(),
        "issuer's token": {"entra"},
        "server's key": set(endpoints),
    }


def test_a_revoked_key_is_refused_at_the_next_request(tmp_path: Path):
    """Given a key that works on a connection that is kept, when another process revokes it, then
    the very next request is refused; so it is when the admin API does."""
    home = tmp_path / "home"
    with serving(tmp_path, BILL) as server:
        for revoke in (
            lambda: zaffre(home, "keys", "revoke", "guest"),
            lambda: server.ask("DELETE", "/admin/keys/guest"),
        ):
            key = zaffre(home, "keys", "create", "guest")["key"]
            connection = http.client.HTTPConnection(
                "127.0.0.1", server.port, timeout=REQUEST_LIMIT_S
            )
            found = []
            for before in (lambda: None, revoke):
                before()
                connection.request("POST", CHAT, json.dumps(said()), {"api-key": key})
                response = connection.getresponse()
                response.read()
                found.append(response.status)
            connection.close()
            assert found == [200, 401]


def test_azures_verbs_hand_out_keys_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Given the command line against a server, when credentials are asked for and made anew, then
    what it shows is what opens the endpoint."""
    with serving(tmp_path, MODES.format(port=1)) as server:
        monkeypatch.setenv("ZAFFRE_ADMIN_KEY", server.key)
        monkeypatch.setenv("ZAFFRE_URL", server.endpoint)

        def az(verb: str, name: str, *more: str) -> Any:
            return zaffre(tmp_path / "home", "online-endpoint", verb, "-n", name, *more)

        assert az("get-credentials", "keyed") == {"primary": None, "secondary": None}
        made = az("regenerate-keys", "keyed", "--key-type", "secondary")
        assert az("get-credentials", "keyed")["secondary"]["ending"] == made["secondaryKey"][-4:]
        token = az("get-credentials", "tokened")["accessToken"]
        anew = az("regenerate-keys", "tokened")["primaryKey"]

        def status(name: str, bearer: str) -> int:
            path, shown = f"/endpoints/{name}{CHAT}", f"Bearer {bearer}"
            return server.ask("POST", path, said(), api_key="", authorization=shown)[0]

        assert status("keyed", made["secondaryKey"]) == 200
        assert status("tokened", token) == 401
        assert status("tokened", anew) == 200
