"""TLS: what `zaffre dev-cert` makes is trusted by clients that are told so, and by no others."""

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError

from servers import ZAFFRE, started

KEY = "a-key-that-stands-for-a-token"


class TokenOfOurs:
    """A credential that hands out a token, as azure-identity's do; here the token is the key."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """A token that lasts for an hour."""
        return AccessToken(KEY, int(time.time()) + 3600)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `zaffre dev-cert` makes."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([ZAFFRE, "dev-cert", "--folder", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def endpoint(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the test double, over https."""
    home = tmp_path_factory.mktemp("home")
    file = home / "zaffre.yaml"
    file.write_text("deployments: [{name: echo, model: echo}]\n")
    cert, key = certificates / "cert.pem", certificates / "key.pem"
    options = ["-f", str(file), "--key", KEY, "--tls-cert", str(cert), "--tls-key", str(key)]
    with started(home, home / "log", *options) as (_, greeting):
        found = re.search(r"https://127\.0\.0\.1:(\d+)", greeting)
        assert found
        yield f"https://localhost:{found[1]}"


def test_a_token_client_works_over_tls(endpoint: str, certificates: Path):
    """Given a token credential, which Azure's SDK sends over https alone, when its client trusts
    the authority, then it is answered."""
    trusted = str(certificates / "ca.pem")
    with ChatCompletionsClient(endpoint, TokenOfOurs(), connection_verify=trusted) as client:
        answer = client.complete(messages=[UserMessage("over tls")])

    assert answer.choices[0].message.content == "over tls"


def test_a_client_that_was_not_told_refuses(endpoint: str):
    """Given a client that does not know the authority, when it connects, then it refuses."""
    with (
        ChatCompletionsClient(endpoint, TokenOfOurs(), retry_total=0) as client,
        pytest.raises(ServiceRequestError, match="certificate verify failed"),
    ):
        client.complete(messages=[UserMessage("over tls")])


def test_node_trusts_it_by_its_variable(endpoint: str, certificates: Path):
    """Given Node with NODE_EXTRA_CA_CERTS, when it asks the server, then it is answered."""
    script = f"""
        const answer = await fetch("{endpoint}/info", {{ headers: {{ "api-key": "{KEY}" }} }});
        console.log((await answer.json()).model_type);
    """
    told = {**os.environ, "NODE_EXTRA_CA_CERTS": str(certificates / "ca.pem")}
    command = ["node", "--input-type=module", "--eval", script]

    outcome = subprocess.run(command, env=told, capture_output=True, text=True, check=True)

    assert outcome.stdout == "chat-completion\n"


def test_the_private_key_is_private(certificates: Path):
    """Given the files, when their modes are read, then nobody else can read the private key."""
    assert stat.S_IMODE((certificates / "key.pem").stat().st_mode) == 0o600


def test_half_a_pair_is_refused(certificates: Path, tmp_path: Path):
    """Given a certificate without its key, when a server starts, then it says what is missing."""
    cert = certificates / "cert.pem"
    outcome = subprocess.run(
        [ZAFFRE, "serve", "--port", "0", "--tls-cert", cert],
        env={**os.environ, "ZAFFRE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert "tls_key" in outcome.stderr
