"""`zaffre dev-issuer`: a local issuer of tokens, for development without Entra ID."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from zaffre.asgi.serving import HttpServer, event_loop, server_config
from zaffre.config.settings import ConfigurationError
from zaffre.devissuer.app import LIFETIME_S, Client, DevIssuer
from zaffre.registry.store import default_home

TENANT = "dev"
_GREETING = """\
A development issuer listens on {base}. It gives a token to everybody on this machine: never let
a server believe it that is not your own.

Let Zaffre believe it, in zaffre.yaml:

    auth:
      issuers:
        - name: dev
          issuer: {base}/{tenant}/v2.0
          ca_file: {ca}
          rules:
            - roles: [{role}]
              permissions: [call]

Get a token as a program does (pip install azure-identity; export REQUESTS_CA_BUNDLE={ca}):

    from azure.identity import ClientSecretCredential
    credential = ClientSecretCredential(
        "{tenant}", "{client}", "{secret}",
        authority="{base}", disable_instance_discovery=True,
    )

or one with any claims, without a password:

    curl --cacert {ca} {base}/{tenant}/token -d sub=me -d roles={role}

Press Ctrl-C to stop.
"""


def dev_issuer(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8443,
    client_id: Annotated[str, typer.Option(help="The application that may ask.")] = "dev-client",
    client_secret: Annotated[str, typer.Option(help="Its secret.")] = "dev-secret",  # noqa: S107
    role: Annotated[list[str] | None, typer.Option(help="A role it gets; repeatable.")] = None,
    lifetime_s: Annotated[int, typer.Option(min=1, help="Lifetime of a token.")] = LIFETIME_S,
    folder: Annotated[
        Path | None, typer.Option(help="Where 'zaffre dev-cert' put its files.")
    ] = None,
) -> None:
    """Issue tokens to programs on this machine, for development alone."""
    certificates = folder or default_home(os.environ) / "dev-cert"
    if not (certificates / "cert.pem").is_file():
        raise ConfigurationError(
            f"{certificates}: no certificate. Clients take tokens over https alone: run"
            " 'zaffre dev-cert' first."
        )
    listener = _listen(port)
    base = f"https://localhost:{listener.getsockname()[1]}"
    client = Client(client_id, client_secret, tuple(role or ["call"]))
    app = DevIssuer(base, client, lifetime_s=lifetime_s)
    greeting = _GREETING.format(
        base=base,
        tenant=TENANT,
        ca=certificates / "ca.pem",
        client=client.id,
        secret=client.secret,
        role=client.roles[0],
    )
    server = HttpServer(
        server_config(
            app,
            ssl_certfile=str(certificates / "cert.pem"),
            ssl_keyfile=str(certificates / "key.pem"),
        ),
        lambda _port: print(greeting, flush=True),
    )
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on port {port}: {error.strerror}. Another one: --port NUMBER"
        ) from None
