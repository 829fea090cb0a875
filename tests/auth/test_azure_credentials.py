"""Azure's credential classes, offline: `zaffre dev-issuer` over https gives them tokens."""

import gc
import json
import os
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ClientSecretCredential

from servers import ZAFFRE, started

START_LIMIT_S = 60
CONFIGURATION = """\
deployments:
  - {{name: echo, model: echo}}
auth:
  issuers:
    - name: dev
      issuer: {authority}/dev/v2.0
      ca_file: {ca}
      rules:
        - roles: [call]
"""
CLIENT, SECRET = "dev-client", "dev-secret"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `zaffre dev-cert` makes."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([ZAFFRE, "dev-cert", "--folder", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def greeting(certificates: Path) -> Iterator[str]:
    """What a running `zaffre dev-issuer` has said."""
    process = subprocess.Popen(
        [ZAFFRE, "dev-issuer", "--port", "0", "--folder", certificates],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    watchdog = threading.Timer(START_LIMIT_S, process.kill)
    watchdog.start()
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Press Ctrl-C"):
            break
    watchdog.cancel()
    yield "".join(lines)
    _hang_up()
    process.terminate()
    assert process.wait(START_LIMIT_S) == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def authority(greeting: str) -> str:
    """The issuer's address."""
    found = re.search(r"https://localhost:\d+", greeting)
    assert found, greeting
    return found[0]


@pytest.fixture(scope="module")
def endpoint(
    authority: str, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A server of the test double, over https, that believes the issuer."""
    home = tmp_path_factory.mktemp("home")
    file = home / "zaffre.yaml"
    file.write_text(CONFIGURATION.format(authority=authority, ca=certificates / "ca.pem"))
    cert, key = certificates / "cert.pem", certificates / "key.pem"
    options = ["-f", str(file), "--tls-cert", str(cert), "--tls-key", str(key)]
    with started(home, home / "log", *options) as (_, greeting):
        found = re.search(r"https://127\.0\.0\.1:(\d+)", greeting)
        assert found, greeting
        yield f"https://localhost:{found[1]}"
        _hang_up()


def _hang_up() -> None:
    """Close what Azure's clients leave open after a refusal: they let go of the connection with the
    answer, and https waits for the other side's goodbye."""
    gc.collect()


def _credential(authority: str, certificates: Path, secret: str = SECRET) -> ClientSecretCredential:
    return ClientSecretCredential(
        "dev",
        CLIENT,
        secret,
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=str(certificates / "ca.pem"),
    )


def _ask(endpoint: str, credential: Any, certificates: Path, **options: Any) -> str:
    """What the server answers a chat."""
    trusted = str(certificates / "ca.pem")
    with ChatCompletionsClient(
        endpoint, credential, connection_verify=trusted, retry_total=0, **options
    ) as client:
        return client.complete(messages=[UserMessage("hi")]).choices[0].message.content


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"credential_scopes": ["https://cognitiveservices.azure.com/.default"]},
        {"credential_scopes": ["https://ai.azure.com/.default"]},
    ],
    ids=str,
)
def test_azure_identity_signs_in_offline(
    endpoint: str, authority: str, certificates: Path, options: dict[str, Any]
):
    """Given ClientSecretCredential with the issuer as authority, when a chat is asked for with
    each scope of Azure's clients, then the application is let in."""
    with _credential(authority, certificates) as credential:
        answer = _ask(endpoint, credential, certificates, **options)

    assert answer == "hi"


def test_a_wrong_secret_does_not(endpoint: str, authority: str, certificates: Path):
    """Given a wrong secret, when a chat is asked for, then the credential fails to sign in."""
    with (
        _credential(authority, certificates, "wrong") as credential,
        pytest.raises(ClientAuthenticationError, match="not its secret"),
    ):
        _ask(endpoint, credential, certificates)


class FixedToken:
    """A credential of azure-core's protocol with a token that it was given."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """The token, for an hour."""
        return AccessToken(self._token, int(time.time()) + 3600)


def test_a_refused_token_raises_as_azures_clients_expect(endpoint: str, certificates: Path):
    """Given a token that is not valid, when a chat is asked for, then the SDK says why."""
    seen: list[dict[str, str]] = []

    def look(answer: Any) -> None:
        seen.append(dict(answer.http_response.headers))

    with pytest.raises(ClientAuthenticationError, match=r"(?i)auth token validation failed"):
        _ask(endpoint, FixedToken("bad.to.ken"), certificates, raw_response_hook=look)

    (headers,) = seen
    assert headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert headers["x-ms-error-reason"] == "Invalid JWT."


def test_a_token_without_a_role_is_known_and_may_do_nothing(
    endpoint: str, authority: str, certificates: Path
):
    """Given a good token with no role of the rules, when a chat is asked for, then it is denied."""
    trusted = ssl.create_default_context(cafile=certificates / "ca.pem")
    form = urlencode({"sub": "me", "roles": "other"}).encode()
    with urlopen(f"{authority}/dev/token", form, context=trusted) as answer:  # noqa: S310
        token = json.load(answer)["access_token"]

    with pytest.raises(HttpResponseError) as raised:
        _ask(endpoint, FixedToken(token), certificates)

    assert "validation failed" not in str(raised.value)
    assert "echo" not in str(raised.value)


def test_it_says_how_to_be_believed_and_how_to_ask(greeting: str, authority: str):
    """Given its greeting, when it is read, then it has what to put where, and a warning."""
    assert f"issuer: {authority}/dev/v2.0" in greeting
    assert "ClientSecretCredential" in greeting
    assert "never" in greeting


def test_it_needs_a_certificate(tmp_path: Path):
    """Given no certificate, when it is started, then it says how to make one."""
    outcome = subprocess.run(
        [ZAFFRE, "dev-issuer"],
        env={**os.environ, "ZAFFRE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert "zaffre dev-cert" in outcome.stderr
    assert "Traceback" not in outcome.stderr
