"""What all gateway processes on a port have alike: the application, the server, the log."""

import logging

import uvicorn

from zaffre.asgi.serving import server_config
from zaffre.auth.chain import AuthChain
from zaffre.config.settings import Settings
from zaffre.server.access_log import AccessLog
from zaffre.server.app import GatewayApp, Options
from zaffre.server.forwarding import ForwardedPlatform
from zaffre.service.gateway import Gateway
from zaffre.service.platform import Platform
from zaffre.service.runs import MIB

DRAIN_S = 10
"""How long requests in flight may take to end after a stop."""
KEEP_ALIVE_S = 75
"""As long as common proxies keep theirs, so that they close first."""


def set_up_log(settings: Settings, who: str = "") -> None:
    """Log to standard error; `who` stands before each message."""
    logging.basicConfig(
        level=settings.text("log_level").upper(),
        format=f"%(asctime)s %(levelname)s {who}%(name)s: %(message)s",
    )
    server_log = logging.getLogger("uvicorn.error")
    server_log.setLevel(logging.WARNING)
    server_log.addFilter(_expected_cut)


def open_access_log(settings: Settings) -> AccessLog | None:
    """The access log, where one is set. All processes append to one file."""
    place = settings.optional_text("access_log")
    return None if place is None else AccessLog(place)


def make_app(
    settings: Settings,
    gateway: Gateway,
    door: AuthChain,
    platform: Platform | ForwardedPlatform,
    access_log: AccessLog | None,
) -> GatewayApp:
    """The application that clients are answered by."""
    options = Options(
        max_body_bytes=settings.whole("max_body_mib") * MIB,
        strict_versions=settings.text("api_version") == "strict",
        cors_origins=tuple(o.strip() for o in settings.text("cors_origins").split(",") if o),
    )
    return GatewayApp(gateway, door, platform, options, access_log)


def make_config(settings: Settings, app: GatewayApp) -> uvicorn.Config:
    """How the port is served."""
    return server_config(
        app,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=settings.whole("max_connections"),
        ssl_certfile=settings.optional_text("tls_cert"),
        ssl_keyfile=settings.optional_text("tls_key"),
    )


def _expected_cut(record: logging.LogRecord) -> bool:
    """Our way to cut off a broken stream is one that uvicorn reports as an application's bug."""
    return "ASGI callable returned without completing response" not in record.getMessage()
