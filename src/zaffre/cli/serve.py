"""`zaffre serve`: start the gateway and its workers, and say what to type next."""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from zaffre import __version__
from zaffre.asgi.serving import event_loop
from zaffre.auth.declared_keys import read_keys
from zaffre.auth.keybook import FIRST_KEY
from zaffre.auth.keystore import ConfiguredKey, KeyStore
from zaffre.boot import ECHO_MODEL, PATH_PREFIX, Given, RunningGateway, locate, starter_plan
from zaffre.cli.answering import make_app, make_config, open_access_log, set_up_log
from zaffre.cli.gateways import FirstServer, OtherGateways
from zaffre.cli.models import pull_with_progress
from zaffre.config.declarations import read_files
from zaffre.config.settings import ConfigurationError, Settings, Value, load_settings
from zaffre.config.state import PlanStore
from zaffre.core.errors import ZaffreError
from zaffre.core.plan import Plan
from zaffre.registry.resolve import NeedsPull, resolve
from zaffre.registry.store import ModelStore, default_home
from zaffre.routing.deployments import Deployment
from zaffre.service.fleet import Key
from zaffre.service.runs import Placement

log = logging.getLogger("zaffre.serve")
NO_FILES = (ECHO_MODEL,)


def serve(  # noqa: PLR0913, PLR0917 - one parameter per flag
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    gateways: Annotated[int | None, typer.Option(help="Processes that answer on the port.")] = None,
    key: Annotated[str | None, typer.Option(help="The API key to accept.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", help="Configuration file; may be given several times."),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain, in PEM.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Its private key, in PEM.")] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make and print a new key.")] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info or warning.")] = None,
) -> None:
    """Serve models over the Azure AI Model Inference API."""
    home = default_home(os.environ)
    files = file or []
    declared = read_files(files, PlanStore(home).load(), starter_plan())
    flags: dict[str, Value] = {
        "host": host,
        "port": port,
        "gateways": gateways,
        "key": key,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "log_level": log_level,
    }
    settings = load_settings(flags, os.environ, declared.start.settings)
    set_up_log(settings)
    _check_tls(settings)
    for warning in declared.warnings:
        log.warning("%s", warning)
    store = ModelStore(home)
    _pull_missing(store, declared.plan)
    placements = {d.key: locate(d, store) for d in declared.plan.deployments}
    base = files[0].resolve().parent if files else Path.cwd()
    keys = read_keys(declared.start.auth, os.environ, base)
    if settings.values["key"] is not None:
        keys.append(ConfiguredKey(FIRST_KEY, settings.text("key")))
        shown = None
    else:
        made = KeyStore(home).make_first_key(renew=new_key)
        shown = None if made is None else made.key
    given = Given(settings, store, declared, tuple(files), tuple(keys))
    listener = _listen(settings.text("host"), settings.whole("port"))
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(_run(given, placements, listener, shown))


async def _run(
    given: Given,
    placements: Mapping[Key, Placement],
    listener: socket.socket,
    shown_key: str | None,
) -> None:
    settings = given.settings
    running = RunningGateway(given)
    access_log = open_access_log(settings)
    app = make_app(settings, running.gateway, running.door, running.platform, access_log)
    others = OtherGateways(given, running, app, listener)
    tasks: list[asyncio.Task[None]] = []

    def on_listening(port: int) -> None:
        scheme = "https" if settings.values["tls_cert"] else "http"
        url = f"{scheme}://{_reachable(settings.text('host'))}:{port}"
        print(f"Zaffre {__version__} listens on {url}", flush=True)
        for deployment in running.fleet.running():
            where, name = deployment.placement, deployment.deployment.full_name
            print(f"  loading {name} on {where.engine}: {where.reason}", flush=True)
        others.start()
        tasks.append(asyncio.ensure_future(_greet(running, others, settings, url, shown_key)))

    server = FirstServer(make_config(settings, app), on_listening, others)
    running.start(placements)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, lambda: tasks.append(loop.create_task(_reload(running))))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await others.aclose()
        await running.aclose()
        if access_log is not None:
            await access_log.aclose()


async def _reload(running: RunningGateway) -> None:
    """Follow the files as they are now; when they are wrong, nothing changes."""
    try:
        await running.platform.reload()
        log.info("read the files again")
    except ZaffreError as error:
        log.error("nothing was changed: %s", error.message)


async def _greet(
    running: RunningGateway,
    others: OtherGateways,
    settings: Settings,
    url: str,
    key: str | None,
) -> None:
    """Say what came up, and what to type next."""

    def tell(deployment: Deployment) -> None:
        print(
            f"  {deployment.full_name}: {deployment.state} {deployment.cause}".rstrip(), flush=True
        )

    await running.all_ready(tell)
    await others.tried()
    print(_key_text(settings, key), flush=True)
    every = [running.deployment for running in running.fleet.running()]
    chat = next((d for d in every if "chat" in d.card.operations), None)
    if chat is not None:
        print(_snippets(url, key or "$ZAFFRE_KEY", key or ""), flush=True)
    print("Ready. Press Ctrl-C to stop.", flush=True)


def _key_text(settings: Settings, key: str | None) -> str:
    if key is not None:
        return f"\nYour key, shown only this once:\n\n    {key}\n"
    if settings.values["key"] is not None:
        return (
            f"\nThe key is the one from the {settings.sources['key']}."
            " For the lines below: export ZAFFRE_KEY=<your key>\n"
        )
    return (
        "\nUse the key printed at the first start, or another of 'zaffre keys list'; --new-key"
        " makes one."
        " For the lines below: export ZAFFRE_KEY=<your key>\n"
    )


def _snippets(url: str, shell_key: str, key: str) -> str:
    credential = f'"{key}"' if key else 'os.environ["ZAFFRE_KEY"]'
    return f"""\
Try it:

    curl {url}/chat/completions -H "api-key: {shell_key}" \\
      -H "Content-Type: application/json" \\
      -d '{{"messages": [{{"role": "user", "content": "Write one sentence about the sea."}}]}}'

Or in Python (pip install azure-ai-inference):

    import os
    from azure.ai.inference import ChatCompletionsClient
    from azure.ai.inference.models import UserMessage
    from azure.core.credentials import AzureKeyCredential

    client = ChatCompletionsClient("{url}", AzureKeyCredential({credential}))
    answer = client.complete(messages=[UserMessage("Write one sentence about the sea.")])
    print(answer.choices[0].message.content)
"""


def _check_tls(settings: Settings) -> None:
    """Certificate and key belong together and must load. Raises `ConfigurationError`."""
    certificate, key = settings.optional_text("tls_cert"), settings.optional_text("tls_key")
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise ConfigurationError("tls_cert and tls_key are needed together.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"tls_cert and tls_key cannot be used: {error}.") from None


def _pull_missing(store: ModelStore, plan: Plan) -> None:
    """Bring the models that the plan wants and that are not here yet, and today's cards.

    A newer version of a model that is here is left to `zaffre pull`: a start needs no network.
    """
    wanted = {d.model for d in plan.deployments if not d.upstreams and d.model not in NO_FILES}
    found = [resolve(model, store) for model in wanted if not model.startswith(PATH_PREFIX)]
    missing = {one.name: one.model for one in found if isinstance(one, NeedsPull)}
    if missing:
        pull_with_progress(store, missing.values())


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, before anything expensive is started. Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}. Another port: --port NUMBER"
        ) from None
    listener.set_inheritable(False)
    return listener


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - not bound here, only named
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
