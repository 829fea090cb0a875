"""Azure's credential classes, offline: `zaffre dev-issuer` over https gives them tokens."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from issuing import serving

from zaffre.asgi.exchange import JSON, Receive, Scope, Send, read_body, send_whole
from zaffre.auth.assembly import make_chain
from zaffre.auth.chain import AuthChain
from zaffre.config.auth_section import IssuerDeclaration, RuleDeclaration
from zaffre.core.errors import Unauthenticated
from zaffre.server.dialects.azure_errors import render
from zaffre.wire import codec

RUN = "import sys, typer; from zaffre.cli.{0} import {1}; typer.run({1})"
START_LIMIT_S = 60
CLIENT, SECRET = "dev-client", "dev-secret"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `zaffre dev-cert` makes."""
    folder = tmp_path_factory.mktemp("certificates")
    command = [sys.executable, "-c", RUN.format("dev_cert", "dev_cert"), "--folder", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def greeting(certificates: Path) -> Iterator[str]:
    """What a running `zaffre dev-issuer` has said."""
    command = [sys.executable, "-c", RUN.format("dev_issuer", "dev_issuer")]
    process = subprocess.Popen(
        [*command, "--port", "0", "--folder", str(certificates)], stdout=subprocess.PIPE, text=True
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
    process.terminate()
    assert process.wait(START_LIMIT_S) == 0
    process.stdout.close()


@pytest.fixture(scope="module")
def authority(greeting: str) -> str:
    """The issuer's address."""
    found = re.search(r"https://localhost:\d+", greeting)
    assert found, greeting
    return found[0]


class WhoCalls:
    """Answers every chat with the name of who asks."""

    def __init__(self, chain: AuthChain) -> None:
        self._chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 100_000)
        try:
            who = await self._chain.identify(scope["headers"])
        except Unauthenticated as error:
            status, headers, body = render(error)
            await send_whole(send, status, [JSON, *headers], body)
            return
        message = {"role": "assistant", "content": f"{who.name} may {sorted(who.permissions)}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "created": 1, "model": "m", "choices": [choice]}
        await send_whole(send, 200, [JSON], codec.encode(answer))


@pytest.fixture
async def endpoint(authority: str, certificates: Path, tmp_path: Path) -> AsyncIterator[str]:
    """A server over https that believes the issuer."""
    issuer = IssuerDeclaration(
        name="dev",
        issuer=f"{authority}/dev/v2.0",
        ca_file=str(certificates / "ca.pem"),
        rules=(RuleDeclaration(roles=("call",)),),
    )
    chain = make_chain(tmp_path, issuers=[issuer])
    files = {"ssl_certfile": certificates / "cert.pem", "ssl_keyfile": certificates / "key.pem"}
    async with serving(WhoCalls(chain), **{k: str(v) for k, v in files.items()}) as port:
        yield f"https://localhost:{port}"
    await chain.aclose()


def _credential(authority: str, certificates: Path, secret: str = SECRET) -> ClientSecretCredential:
    return ClientSecretCredential(
        "dev",
        CLIENT,
        secret,
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=str(certificates / "ca.pem"),
    )


async def _ask(endpoint: str, credential: Any, certificates: Path, **options: Any) -> str:
    """What the server answers a chat, in a thread: the client is a synchronous one."""

    def ask() -> str:
        trusted = str(certificates / "ca.pem")
        with ChatCompletionsClient(
            endpoint, credential, connection_verify=trusted, **options
        ) as client:
            return client.complete(messages=[UserMessage("hi")]).choices[0].message.content

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"credential_scopes": ["https://cognitiveservices.azure.com/.default"]},
        {"credential_scopes": ["https://ai.azure.com/.default"]},
    ],
    ids=str,
)
async def test_azure_identity_signs_in_offline(
    endpoint: str, authority: str, certificates: Path, options: dict[str, Any]
):
    """Given ClientSecretCredential with the issuer as authority, when a chat is asked for with
    each scope of Azure's clients, then the application is let in."""
    with _credential(authority, certificates) as credential:
        answer = await _ask(endpoint, credential, certificates, **options)

    assert answer == f"{CLIENT} may ['call']"


async def test_a_wrong_secret_does_not(endpoint: str, authority: str, certificates: Path):
    """Given a wrong secret, when a chat is asked for, then the credential fails to sign in."""
    with (
        _credential(authority, certificates, "wrong") as credential,
        pytest.raises(ClientAuthenticationError, match="not its secret"),
    ):
        await _ask(endpoint, credential, certificates)


class FixedToken:
    """A credential of azure-core's protocol with a token that it was given."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """The token, for an hour."""
        return AccessToken(self._token, int(time.time()) + 3600)


async def test_a_refused_token_raises_as_azures_clients_expect(endpoint: str, certificates: Path):
    """Given a token that is not valid, when a chat is asked for, then the SDK says why."""
    seen: list[dict[str, str]] = []

    def look(answer: Any) -> None:
        seen.append(dict(answer.http_response.headers))

    with pytest.raises(ClientAuthenticationError, match=r"(?i)auth token validation failed"):
        await _ask(endpoint, FixedToken("bad.to.ken"), certificates, raw_response_hook=look)

    (headers,) = seen
    assert headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert headers["x-ms-error-reason"] == "Invalid JWT."


def test_it_says_how_to_be_believed_and_how_to_ask(greeting: str, authority: str):
    """Given its greeting, when it is read, then it has what to put where, and a warning."""
    assert f"issuer: {authority}/dev/v2.0" in greeting
    assert "ClientSecretCredential" in greeting
    assert "never" in greeting


def test_it_needs_a_certificate(tmp_path: Path):
    """Given no certificate, when it is started, then it says how to make one."""
    command = [sys.executable, "-c", RUN.format("dev_issuer", "dev_issuer")]
    outcome = subprocess.run(
        command,
        env={**os.environ, "ZAFFRE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    assert "zaffre dev-cert" in outcome.stderr
